from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    ConnectionMissing,
    InvalidArgument,
    StorageUnwritable,
)
from airflow_provider_mlops.hooks import OciRegistryHook
from airflow_provider_mlops.oci.errors import (
    ImageNotFound,
    ImageTagConflict,
    InvalidReference,
    NoPreviousImage,
)
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.operators import (
    ImagePromoteOperator,
    ImageRollbackOperator,
    ImageTagOperator,
)
from tests.unit.oci.store_contract import put_image

RUN_AFTER = datetime(2026, 3, 1, 12, tzinfo=UTC)


def context(*, run_id: str = "r1", max_tries: int = 1, **run: Any) -> Any:
    moments = {
        "run_after": RUN_AFTER,
        "data_interval_end": None,
        "logical_date": None,
        "start_date": RUN_AFTER,
    } | run
    ti = SimpleNamespace(
        dag_id="d", run_id=run_id, task_id="t", map_index=-1, max_tries=max_tries, try_number=1, job_id=7
    )
    return {"ti": ti, "dag_run": SimpleNamespace(**moments)}


@pytest.fixture
def store(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "search")


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_OCI_REGISTRY_DEFAULT", json.dumps({"conn_type": "oci_registry", **fields})
    )


def tag(image: Any, **fields: Any) -> Any:
    return ImageTagOperator(task_id="t", image=image, **fields).execute(context())


def promote(image: Any, **fields: Any) -> Any:
    return ImagePromoteOperator(task_id="t", image=image, channel="production", **fields).execute(context())


def roll_back(repository: str, *, run: Any = None, **fields: Any) -> Any:
    operator = ImageRollbackOperator(task_id="t", repository=repository, channel="production", **fields)
    return operator.execute(run or context())


def test_an_image_gets_the_date_of_its_run(store: LayoutRepository) -> None:
    digest = put_image(store, "a")
    payload = tag(f"{store.repository}@{digest}", tags=["v1"])
    assert payload == {
        "schema": 1,
        "kind": "oci.image",
        "image": f"{store.repository}@{digest}",
        "repository": store.repository,
        "digest": digest,
        "tags": ["v1", "20260301-120000"],
        "channel": None,
        "previous_digest": None,
        "runnable": True,
        "reused": False,
    }
    assert sorted(store.tags()) == ["20260301-120000", "v1"]
    assert tag(f"{store.repository}@{digest}", tags=["v1"])["reused"]


def test_a_run_without_run_after_is_dated_by_its_interval_or_logical_date(store: LayoutRepository) -> None:
    image = f"{store.repository}@{put_image(store, 'a')}"
    operator = ImageTagOperator(task_id="t", image=image)
    later = datetime(2026, 4, 1, tzinfo=UTC)
    run = context(data_interval_end=later, logical_date=RUN_AFTER)
    del run["dag_run"].run_after
    assert operator.execute(run)["tags"] == ["20260401-000000"]
    run["dag_run"].data_interval_end = None
    assert operator.execute(run)["tags"] == ["20260301-120000"]


def test_a_conflict_ends_the_retries(store: LayoutRepository) -> None:
    tag(f"{store.repository}@{put_image(store, 'a')}")
    with pytest.raises(ImageTagConflict) as caught:
        tag(f"{store.repository}@{put_image(store, 'b')}")
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("shape", ["text", "payload", "pipeline", "pipeline of payload"])
def test_an_image_may_come_as_text_or_as_another_tasks_whole_output(
    store: LayoutRepository, shape: str
) -> None:
    digest = put_image(store, "a")
    image = f"{store.repository}@{digest}"
    payload = {"schema": 1, "kind": "oci.image", "image": image, "digest": digest, "runnable": False}
    value = {
        "text": image,
        "payload": payload,
        "pipeline": {"kind": "gitlab.pipeline", "image": image},
        "pipeline of payload": {"kind": "gitlab.pipeline", "image": payload},
    }[shape]
    done = promote(value)
    assert done["digest"] == store.digest_of("production") == digest
    assert done["runnable"] is ("payload" not in shape)


@pytest.mark.parametrize("value", ["", None, {}, {"kind": "bento"}, {"image": None}, 7, ["a"]])
def test_what_is_no_image_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        promote(value)


@pytest.mark.parametrize("tags", ["v1", []])
def test_tags_must_be_a_list_with_something_in_it(store: LayoutRepository, tags: Any) -> None:
    with pytest.raises(InvalidArgument):
        tag(f"{store.repository}@{put_image(store, 'a')}", tags=tags, dated=False)


def test_a_repository_is_not_an_image(store: LayoutRepository) -> None:
    with pytest.raises(InvalidReference, match="no image in it"):
        promote(store.repository)
    with pytest.raises(InvalidReference, match="one image"):
        roll_back(f"{store.repository}:v1")


def test_promoted_and_rolled_back(store: LayoutRepository) -> None:
    a, b = put_image(store, "a"), put_image(store, "b")
    promote(f"{store.repository}@{a}")
    done = promote(f"{store.repository}@{b}")
    assert (done["channel"], done["previous_digest"], done["reused"]) == ("production", a, False)
    assert done["tags"][-1] == "production"
    tags = sorted(store.tags())
    dry = roll_back(store.repository, dry_run=True)
    assert (dry["digest"], dry["previous_digest"], dry["tags"]) == (a, b, [])
    assert sorted(store.tags()) == tags
    back = roll_back(store.repository)
    assert back["digest"] == store.digest_of("production") == a


def test_an_image_is_promoted_into_another_repository(store: LayoutRepository, tmp_path: Path) -> None:
    digest = put_image(store, "a")
    target = LayoutRepository(tmp_path / "released" / "search")
    done = promote(f"{store.repository}@{digest}", repository=target.repository)
    assert done["image"] == f"{target.repository}@{digest}"
    assert target.digest_of("production") == digest
    layer = target.get_manifest(digest).data["layers"][0]["digest"]
    assert b"".join(target.read_blob(layer)) == b"a"
    assert store.tags() == []
    with pytest.raises(InvalidReference, match="one image"):
        promote(f"{store.repository}@{digest}", repository=f"{target.repository}:v1")


def test_a_retry_of_a_rollback_does_not_go_forward_again(store: LayoutRepository) -> None:
    a, b = put_image(store, "a"), put_image(store, "b")
    promote(f"{store.repository}@{a}")
    promote(f"{store.repository}@{b}")
    roll_back(store.repository)
    assert roll_back(store.repository)["digest"] == a
    assert roll_back(store.repository, run=context(run_id="r2"))["digest"] == b
    assert roll_back(store.repository, run=context(run_id="r2", max_tries=3))["digest"] == a


def test_without_another_image_there_is_nothing_to_go_back_to(store: LayoutRepository) -> None:
    promote(f"{store.repository}@{put_image(store, 'a')}")
    with pytest.raises(NoPreviousImage):
        roll_back(store.repository)


def test_an_unknown_image_is_named(store: LayoutRepository) -> None:
    with pytest.raises(ImageNotFound, match="v1"):
        promote(f"{store.repository}:v1")


def test_a_folder_needs_no_connection_a_registry_does(store: LayoutRepository) -> None:
    promote(f"{store.repository}@{put_image(store, 'a')}", oci_conn_id="there_is_none")
    with pytest.raises(ConnectionMissing, match="there_is_none"):
        promote("registry.example.com/x:v1", oci_conn_id="there_is_none")


def test_a_repository_may_be_relative_to_the_connection(
    store: LayoutRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, host=f"file://{tmp_path}")
    digest = put_image(store, "a")
    assert promote(f"search@{digest}")["repository"] == store.repository


def test_credentials_of_one_registry_are_not_used_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, host="registry.example.com", login="robot", password="hush-hush")
    with pytest.raises(InvalidReference, match=r"other\.example\.com") as caught:
        promote("other.example.com/x:v1")
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"host": "http://registry.example.com"},
        {"host": "https://registry.example.com/team"},
        {"host": "https://me:hush-hush@registry.example.com"},
    ],
)
def test_a_connection_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    connect(monkeypatch, **fields)
    with pytest.raises(ConnectionIncomplete, match="oci_registry_default"):
        OciRegistryHook().reference("x:v1")


@pytest.mark.parametrize("allow", [True, "true"])
def test_plain_http_is_possible_when_the_connection_says_so(
    monkeypatch: pytest.MonkeyPatch, allow: Any
) -> None:
    connect(monkeypatch, host="registry.example.com", extra={"allow_http": allow})
    assert str(OciRegistryHook().reference("x:v1")) == "registry.example.com/x:v1"


def test_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, host="registry.example.com", login="robot", password="hush-hush")
    hook = OciRegistryHook()
    store = hook.store("x")
    assert "hush-hush" not in repr(hook) + repr(vars(hook)) + repr(store) + repr(hook.info)


def test_the_connection_test_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, host=f"file://{tmp_path}/images")
    assert OciRegistryHook().test_connection() == (True, f"file://{tmp_path}/images answers")
    (tmp_path / "images").write_text("not a folder")
    ok, words = OciRegistryHook().test_connection()
    assert not ok
    assert "not a folder" in words


def test_a_folder_that_cannot_be_written_ends_the_retries(store: LayoutRepository, tmp_path: Path) -> None:
    digest = put_image(store, "a")
    # A folder in the place of the lock file: nobody can write the index, root included.
    (tmp_path / "search" / ".lock").unlink()
    (tmp_path / "search" / ".lock").mkdir()
    with pytest.raises(StorageUnwritable) as caught:
        promote(f"{store.repository}@{digest}")
    assert isinstance(caught.value, AirflowFailException)
    assert store.tags() == []


def test_what_a_dag_author_passes_is_templated() -> None:
    for operator, fields in (
        (ImageTagOperator, {"image", "tags", "oci_conn_id"}),
        (ImagePromoteOperator, {"image", "channel", "repository", "oci_conn_id"}),
        (ImageRollbackOperator, {"repository", "channel", "to", "oci_conn_id"}),
    ):
        assert set(operator.template_fields) == fields
