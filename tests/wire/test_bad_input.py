"""What a DAG author gets wrong, operator by operator: one error that names the object and the next step and ends the
retries, before anything was made anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops import errors
from airflow_provider_mlops.bento.errors import BentoContextInvalid
from airflow_provider_mlops.compat import AirflowFailException, BaseOperator
from airflow_provider_mlops.gitlab.errors import BranchNotFound
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.operators import (
    BentoBuildOperator,
    GitlabCommitOperator,
    GitlabMergeRequestOperator,
    GitlabTriggerOperator,
    ImagePromoteOperator,
    ImageRollbackOperator,
    ImageTagOperator,
    ReleaseOperator,
    RollbackOperator,
    VectorIndexMaintenanceOperator,
    VectorIndexOperator,
)
from airflow_provider_mlops.release.errors import NoPreviousRelease, ReleaseNotFound
from airflow_provider_mlops.testing.gitlab import GitlabStandIn, Scenario
from airflow_provider_mlops.vector import HashEmbedder, OnnxEmbedder, VectorIndex
from airflow_provider_mlops.vector.errors import EmbedderModelMissing, VersionMissing
from tests.unit.oci.store_contract import put_image


@dataclass(frozen=True)
class Place:
    """What there is: a GitLab, an image in a folder, documents, and a path below a file, where nothing can be made."""

    folder: Path
    gitlab: GitlabStandIn
    image: str
    documents: str

    @property
    def nowhere(self) -> Path:
        return self.folder / "file" / "below"

    def files(self) -> dict[str, bytes]:
        """All files in the folder. An empty folder is no effect: whether one may be made is found by making it."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "file").write_text("a regular file")
    (folder / "documents.jsonl").write_text('{"id": "a", "text": "one"}\n')
    (folder / "empty.jsonl").write_text("")
    (folder / "no_service").mkdir()
    images = LayoutRepository(folder / "images" / "search")
    image = f"{images.repository}@{put_image(images, 'search')}"
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", (folder / "artifacts").as_uri())
    monkeypatch.setattr("airflow_provider_mlops.external_job.pacing._LONGEST_BACKOFF", 0.2)
    with GitlabStandIn(tmp_path / "gitlab", executor=Scenario({"job": []})) as gitlab:
        gitlab.project.repository.git("branch", "work", "main")
        gitlab.project.repository.add("a.txt", "work in progress", branch="work")
        for name, fields in {
            "GITLAB_DEFAULT": {"conn_type": "gitlab", "host": gitlab.url, "password": gitlab.token},
            "GITLAB_WRONG": {"conn_type": "gitlab", "host": gitlab.url, "password": "glpat-wrong"},
            "REGISTRY_BELOW_A_FILE": {"conn_type": "oci_registry", "host": (folder / "file" / "x").as_uri()},
            "LANCE_BELOW_A_FILE": {"conn_type": "lancedb", "host": str(folder / "file" / "x")},
        }.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(fields))
        yield Place(folder, gitlab, image, str(folder / "documents.jsonl"))


def context() -> Any:
    """What the operators use of a task's first attempt."""
    now = datetime.now(UTC)
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="t", map_index=-1, job_id=1, try_number=1, max_tries=2,
        xcom_push=lambda key, value: None, xcom_pull=lambda **keywords: None,
    )  # fmt: skip
    run = SimpleNamespace(run_after=now, start_date=now, logical_date=now, clear_number=0)
    return {"ti": ti, "dag_run": run}


def publish(**arguments: Any) -> BaseOperator:
    return GitlabTriggerOperator(task_id="t", **{"project": "mlops/demo", "ref": "main", **arguments})


def commit(**arguments: Any) -> BaseOperator:
    defaults = {"project": "mlops/demo", "branch": "main", "message": "Deploy"}
    actions = [{"action": "write", "file_path": "values.yaml", "content": "a: b"}]
    return GitlabCommitOperator(task_id="t", **{**defaults, "actions": actions, **arguments})


def merge(**arguments: Any) -> BaseOperator:
    defaults = {"project": "mlops/demo", "source_branch": "work"}
    return GitlabMergeRequestOperator(task_id="t", **{**defaults, **arguments})


def index(source: str, **arguments: Any) -> BaseOperator:
    return VectorIndexOperator(
        task_id="t", index=VectorIndex("Docs", embedder=HashEmbedder(64), **arguments), source=source
    )


def care(**arguments: Any) -> BaseOperator:
    action = arguments.pop("action")
    return VectorIndexMaintenanceOperator(task_id="t", index=VectorIndex("Docs", **arguments), action=action)


def release(parts: dict[str, Any], **arguments: Any) -> BaseOperator:
    return ReleaseOperator(task_id="t", service="search", parts=parts, **arguments)


#: What is wrong -> the operator, its error, and what the message has to name.
TABLE: dict[str, tuple[Callable[[Place], BaseOperator], type[errors.MlopsError], str]] = {
    "gitlab, missing connection": (
        lambda place: publish(gitlab_conn_id="gitlab_none"),
        errors.ConnectionMissing,
        "gitlab_none",
    ),
    "gitlab, missing connection, deferrable": (
        lambda place: publish(gitlab_conn_id="gitlab_none", deferrable=True),
        errors.ConnectionMissing,
        "gitlab_none",
    ),
    "gitlab, wrong token": (
        lambda place: publish(gitlab_conn_id="gitlab_wrong"),
        errors.CredentialsRejected,
        "gitlab_wrong",
    ),
    "gitlab, wrong token, deferrable": (
        lambda place: publish(gitlab_conn_id="gitlab_wrong", deferrable=True),
        errors.CredentialsRejected,
        "gitlab_wrong",
    ),
    "gitlab, unknown project": (
        lambda place: publish(project="mlops/none"),
        errors.RemoteObjectNotFound,
        "mlops/none",
    ),
    "commit, missing connection": (
        lambda place: commit(gitlab_conn_id="gitlab_none"),
        errors.ConnectionMissing,
        "gitlab_none",
    ),
    "commit, wrong token": (
        lambda place: commit(gitlab_conn_id="gitlab_wrong"),
        errors.CredentialsRejected,
        "gitlab_wrong",
    ),
    "commit, unknown project": (
        lambda place: commit(project="mlops/none"),
        errors.RemoteObjectNotFound,
        "mlops/none",
    ),
    "commit, unknown branch": (
        lambda place: commit(branch="release/none"),
        BranchNotFound,
        "release/none",
    ),
    "commit, no such content": (
        lambda place: commit(
            actions=[{"action": "write", "file_path": "a", "content_uri": str(place.folder / "none.yaml")}]
        ),
        errors.SourceEmpty,
        "none.yaml",
    ),
    "merge request, missing connection": (
        lambda place: merge(gitlab_conn_id="gitlab_none"),
        errors.ConnectionMissing,
        "gitlab_none",
    ),
    "merge request, wrong token, deferrable": (
        lambda place: merge(gitlab_conn_id="gitlab_wrong", deferrable=True),
        errors.CredentialsRejected,
        "gitlab_wrong",
    ),
    "merge request, unknown project": (
        lambda place: merge(project="mlops/none"),
        errors.RemoteObjectNotFound,
        "mlops/none",
    ),
    "merge request, unknown branch": (
        lambda place: merge(source_branch="release/none"),
        BranchNotFound,
        "release/none",
    ),
    "merge request, unknown reviewer": (
        lambda place: merge(reviewers=["nobody"]),
        errors.InvalidArgument,
        "nobody",
    ),
    "bento, no service in the context": (
        lambda place: BentoBuildOperator(task_id="t", context=str(place.folder / "no_service")),
        BentoContextInvalid,
        "no_service",
    ),
    "bento, no such context": (
        lambda place: BentoBuildOperator(task_id="t", context=str(place.folder / "none")),
        BentoContextInvalid,
        "none",
    ),
    "bento, missing connection of the index": (
        lambda place: BentoBuildOperator(
            task_id="t", context=str(place.folder / "service"), index_conn_id="pypi_none"
        ),
        errors.ConnectionMissing,
        "pypi_none",
    ),
    "bento, missing connection of MLflow": (
        lambda place: BentoBuildOperator(
            task_id="t",
            context=str(place.folder / "service"),
            models={"m": "models:/docs@champion"},
            mlflow_conn_id="mlflow_none",
        ),
        errors.ConnectionMissing,
        "mlflow_none",
    ),
    "bento, no reference to MLflow": (
        lambda place: BentoBuildOperator(
            task_id="t", context=str(place.folder / "service"), models={"m": "models:/docs/latest"}
        ),
        errors.InvalidArgument,
        "models:/docs/latest",
    ),
    "tag, missing connection": (
        lambda place: ImageTagOperator(
            task_id="t", image="r.example.com/search:v1", oci_conn_id="registry_none"
        ),
        errors.ConnectionMissing,
        "registry_none",
    ),
    "promote, missing connection": (
        lambda place: ImagePromoteOperator(
            task_id="t", image="r.example.com/search:v1", channel="live", oci_conn_id="registry_none"
        ),
        errors.ConnectionMissing,
        "registry_none",
    ),
    "promote, unwritable layout folder": (
        lambda place: ImagePromoteOperator(
            task_id="t", image=place.image, channel="live", repository=(place.nowhere / "images").as_uri()
        ),
        errors.StorageUnwritable,
        "file/below/images",
    ),
    "rollback of an image, missing connection": (
        lambda place: ImageRollbackOperator(
            task_id="t", repository="r.example.com/search", channel="live", oci_conn_id="registry_none"
        ),
        errors.ConnectionMissing,
        "registry_none",
    ),
    "index, missing connection": (
        lambda place: index(place.documents, conn_id="lance_none"),
        errors.ConnectionMissing,
        "lance_none",
    ),
    "index, missing connection to Weaviate": (
        lambda place: index(place.documents, backend="weaviate", conn_id="weaviate_none"),
        errors.ConnectionMissing,
        "weaviate_none",
    ),
    "index, unwritable folder": (
        lambda place: index(place.documents, uri=str(place.nowhere)),
        errors.StorageUnwritable,
        "file/below",
    ),
    "index, unwritable folder of the connection": (
        lambda place: index(place.documents, conn_id="lance_below_a_file"),
        errors.StorageUnwritable,
        "file/x",
    ),
    "index, no embedding model": (
        lambda place: VectorIndexOperator(
            task_id="t",
            index=VectorIndex("Docs", embedder=OnnxEmbedder("nowhere")),
            source=place.documents,
        ),
        EmbedderModelMissing,
        "artifacts/models/nowhere",
    ),
    "index, empty source": (
        lambda place: index(str(place.folder / "empty.jsonl")),
        errors.SourceEmpty,
        "empty.jsonl",
    ),
    "index, no such source": (
        lambda place: index(str(place.folder / "none-*.jsonl")),
        errors.SourceEmpty,
        "none-*.jsonl",
    ),
    "index maintenance, missing connection": (
        lambda place: care(action="audit", conn_id="weaviate_none", backend="weaviate"),
        errors.ConnectionMissing,
        "weaviate_none",
    ),
    "index maintenance, unwritable folder": (
        lambda place: care(action="collect_garbage", uri=str(place.nowhere)),
        errors.StorageUnwritable,
        "file/below",
    ),
    "index maintenance, nothing to go back to": (
        lambda place: care(action="rollback", uri=str(place.folder / "lance")),
        VersionMissing,
        "never built",
    ),
    "release, missing connection": (
        lambda place: release(
            {"image": "r.example.com/search@sha256:" + "0" * 64}, oci_conn_id="registry_none"
        ),
        errors.ConnectionMissing,
        "registry_none",
    ),
    "release, unwritable ledger": (
        lambda place: release({"image": place.image}, ledger=place.nowhere.as_uri()),
        errors.StorageUnwritable,
        "file/below",
    ),
    "rollback to an unknown release": (
        lambda place: RollbackOperator(task_id="t", service="search", to="20260101-000000-00000000"),
        ReleaseNotFound,
        "20260101-000000-00000000",
    ),
    "rollback, nothing was ever released": (
        lambda place: RollbackOperator(task_id="t", service="search"),
        NoPreviousRelease,
        "search",
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_it_is_one_error_before_any_effect(place: Place, case: str) -> None:
    make, kind, words = TABLE[case]
    if case.startswith("index"):
        pytest.importorskip("lancedb")
    operator = make(place)
    before = place.files()
    with pytest.raises(kind) as caught:
        operator.execute(context())
    error = caught.value
    assert isinstance(error, AirflowFailException)
    assert words in error.message
    assert error.next_step
    assert "\n" not in str(error)
    assert place.files() == before
    assert place.gitlab.requests.count("POST") == 0
    assert place.gitlab.pipelines() == []
    for secret in (place.gitlab.token, "glpat-wrong"):
        assert secret not in str(error)
