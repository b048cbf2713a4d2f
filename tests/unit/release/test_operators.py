"""The release operators over a real LanceDB index and a real image layout."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.cli.main import main
from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.oci.errors import ImageNotFound, InvalidReference
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.operators import ReleaseOperator, RollbackOperator
from airflow_provider_mlops.release.errors import NoPreviousRelease, PartInvalid, ReleaseNotFound
from airflow_provider_mlops.release.ledger import ReleaseLedger
from tests.unit.oci.store_contract import put_image

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def context(run_id: str = "r1", *, max_tries: int = 1) -> Any:
    ti = SimpleNamespace(
        dag_id="d", run_id=run_id, task_id="t", map_index=-1, max_tries=max_tries, try_number=1, job_id=7
    )
    return {"ti": ti, "dag_run": SimpleNamespace(run_after=START, start_date=START)}


@pytest.fixture
def images(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "images" / "search")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", f"file://{tmp_path}/artifacts")
    return tmp_path / "artifacts" / "releases"


@pytest.fixture
def ledger(root: Path) -> ReleaseLedger:
    return ReleaseLedger(root, "search", "production")


def release(parts: Any, *, run: Any = None, **fields: Any) -> Any:
    operator = ReleaseOperator(task_id="t", service="search", parts=parts, **fields)
    return operator.execute(run or context())


def roll_back(*, run: Any = None, **fields: Any) -> Any:
    return RollbackOperator(task_id="t", service="search", **fields).execute(run or context("back"))


def parts(images: LayoutRepository, name: str) -> dict[str, Any]:
    digest = put_image(images, name)
    bento = {
        "schema": 1,
        "kind": "bento",
        "tag": f"search:{name}",
        "digest": f"sha256:{name}",
        "reused": False,
    }
    pipeline = {
        "kind": "gitlab.pipeline",
        "image": {"image": f"{images.repository}@{digest}", "runnable": False},
    }
    return {"model": f"s3://models/{name}", "bento": bento, "image": pipeline}


def test_a_release_moves_the_channel_and_is_recorded(images: LayoutRepository, ledger: ReleaseLedger) -> None:
    payload = release(parts(images, "a"))
    digest = images.digest_of("production")
    assert payload == {
        "schema": 1,
        "kind": "release",
        "release_id": ledger.release_ids()[0],
        "service": "search",
        "channel": "production",
        "uri": f"file://{ledger.folder}/records/{payload['release_id']}.json",
        "previous_release_id": None,
        "parts": {
            "model": "s3://models/a",
            "bento": "sha256:a",
            "image": f"{images.repository}@{digest}",
        },
        "action": "release",
    }
    record = ledger.current()
    assert record is not None
    assert record.run == {"dag_id": "d", "run_id": "r1", "task_id": "t"}
    assert record.parts["image"]["runnable"] is False
    assert record.parts["bento"]["tag"] == "search:a"


def test_release_release_rollback(images: LayoutRepository, ledger: ReleaseLedger) -> None:
    first = release(parts(images, "a"))
    a = images.digest_of("production")
    second = release(parts(images, "b"), run=context("r2"))
    assert second["previous_release_id"] == first["release_id"]
    dry = roll_back(dry_run=True)
    assert dry["release_id"] == first["release_id"]
    assert images.digest_of("production") != a
    back = roll_back()
    assert back["action"] == "rollback"
    assert back["parts"] == first["parts"]
    assert images.digest_of("production") == a
    record = ledger.current()
    assert record is not None
    assert (record.rolled_back_from, record.restores) == (second["release_id"], first["release_id"])
    assert roll_back() == back
    assert roll_back(to=first["release_id"], run=context("back2"))["action"] == "unchanged"
    assert roll_back(run=context("back3"))["parts"] == second["parts"]


def test_a_retry_returns_what_its_first_try_did(images: LayoutRepository, ledger: ReleaseLedger) -> None:
    first = release(parts(images, "a"))
    assert release(parts(images, "a")) == first
    assert release(parts(images, "a"), run=context(max_tries=2)) == {**first, "action": "unchanged"}
    assert len(ledger.release_ids()) == 1


def test_an_image_that_is_not_there_is_found_before_anything_moves(
    images: LayoutRepository, ledger: ReleaseLedger
) -> None:
    release(parts(images, "a"))
    live = images.digest_of("production")
    missing = f"{images.repository}@sha256:{'0' * 64}"
    with pytest.raises(ImageNotFound) as caught:
        release({"image": missing}, run=context("r2"))
    assert isinstance(caught.value, AirflowFailException)
    assert images.digest_of("production") == live
    assert ledger.unfinished() is None


def test_an_image_that_was_deleted_meanwhile_is_not_rolled_back_to(
    images: LayoutRepository, ledger: ReleaseLedger, tmp_path: Path
) -> None:
    release(parts(images, "a"))
    digest = str(images.digest_of("production"))
    release(parts(images, "b"), run=context("r2"))
    live = images.digest_of("production")
    (tmp_path / "images" / "search" / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()
    with pytest.raises(ImageNotFound, match="any more"):
        roll_back()
    assert images.digest_of("production") == live


def test_a_tag_is_pinned_to_what_it_names(images: LayoutRepository, ledger: ReleaseLedger) -> None:
    digest = put_image(images, "a")
    images.put_manifest(images.get_manifest(digest), "v1")
    assert release({"image": f"{images.repository}:v1"})["parts"] == {
        "image": f"{images.repository}@{digest}"
    }


@pytest.mark.parametrize("bad", [{}, {"model": None}, {"bento": {"kind": "bento"}}])
def test_parts_without_identity_are_refused(root: Path, bad: Any) -> None:
    with pytest.raises(PartInvalid):
        release(bad)
    assert not root.exists()


@pytest.mark.parametrize("channel", ["", "20260301-120000", "a/b"])
def test_a_channel_that_is_no_tag_is_refused(root: Path, channel: str) -> None:
    with pytest.raises(InvalidReference):
        release({"model": "m"}, channel=channel)
    assert not root.exists()


def test_a_ledger_must_be_named_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__MLOPS__ARTIFACTS", raising=False)
    with pytest.raises(InvalidArgument, match="artifact"):
        release({"model": "m"})


def test_a_ledger_of_an_unknown_scheme_is_named() -> None:
    with pytest.raises(InvalidArgument, match="nosuch"):
        release({"model": "m"}, ledger="nosuch://bucket/releases")


def test_a_rollback_without_releases_is_refused(root: Path) -> None:
    with pytest.raises(NoPreviousRelease):
        roll_back()
    with pytest.raises(ReleaseNotFound):
        roll_back(to="20260101-000000-00000000")
    with pytest.raises(InvalidArgument):
        roll_back(to="")


def test_the_index_goes_live_with_the_image_and_comes_back_with_it(
    images: LayoutRepository, ledger: ReleaseLedger, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    from airflow_provider_mlops.operators import VectorIndexOperator
    from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex
    from airflow_provider_mlops.vector.activate import active_version
    from airflow_provider_mlops.vector.errors import VersionMissing

    index = VectorIndex("Docs", embedder=HashEmbedder(16), uri=str(tmp_path / "lance"))

    def built(text: str) -> Any:
        source = Records(lambda: [{"id": f"{number}", "text": f"{text} {number}"} for number in range(5)])
        operator = VectorIndexOperator(
            task_id="index", index=index, source=source, activate=False, max_delete_fraction=1.0
        )
        return operator.execute(context())

    def live(payload: Any) -> str | None:
        return active_version(payload, lambda conn_id: pytest.fail(conn_id))

    one = built("amber")
    assert live(one) is None
    release({**parts(images, "a"), "index": one})
    assert live(one) == one["version"]
    two = built("birch")
    assert live(two) == one["version"]
    released = release({**parts(images, "b"), "index": two}, run=context("r2"))
    assert released["parts"]["index"] == f"lancedb Docs {two['version']}"
    assert live(two) == two["version"]
    roll_back()
    assert live(two) == one["version"]
    missing = {**two, "version": "v9_00000000"}
    before = images.digest_of("production")
    with pytest.raises(VersionMissing):
        release({**parts(images, "c"), "index": missing}, run=context("r3"))
    assert (live(two), images.digest_of("production")) == (one["version"], before)


def test_what_a_dag_author_passes_is_templated() -> None:
    common = {"service", "channel", "ledger", "oci_conn_id"}
    assert set(ReleaseOperator.template_fields) == common | {"parts"}
    assert set(RollbackOperator.template_fields) == common | {"to"}


def test_releases_are_listed_and_shown_without_airflow(
    images: LayoutRepository, ledger: ReleaseLedger, root: Path
) -> None:
    first = release(parts(images, "a"))["release_id"]
    second = release({**parts(images, "a"), "model": "s3://models/b"}, run=context("r2"))["release_id"]
    back = roll_back()["release_id"]
    code = "import sys; sys.modules['airflow'] = None; from airflow_provider_mlops.cli.main import main; sys.exit(main(sys.argv[1:]))"

    def command(*words: str) -> str:
        call = [sys.executable, "-c", code, "release", *words, "--ledger", f"file://{root}"]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout

    assert command("list", "search").splitlines() == [
        f"* {back}  rollback  changed: model restores {first}",
        f"  {second}  release   changed: model",
        f"  {first}  release   changed: bento, image, model",
    ]
    assert json.loads(command("show", "search"))["release_id"] == back
    assert json.loads(command("show", "search", second))["identities"]["model"] == "s3://models/b"
    assert "no release in channel beta" in command("list", "search", "--channel", "beta")


def test_the_configured_ledger_is_the_default(
    images: LayoutRepository, ledger: ReleaseLedger, capsys: pytest.CaptureFixture[str]
) -> None:
    release_id = release(parts(images, "a"))["release_id"]
    assert main(["release", "list", "search"]) == 0
    assert release_id in capsys.readouterr().out
    assert main(["release", "show", "search", "20200101-000000-00000000"]) == 1
    assert "ReleaseNotFound" in capsys.readouterr().err
