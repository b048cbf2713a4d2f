from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from upath import UPath

from airflow_provider_mlops.bento.archive import digest
from airflow_provider_mlops.bento.errors import BentoVersionTaken
from airflow_provider_mlops.bento.store import BentoStore, is_local
from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.payloads import BentoPayload


@pytest.fixture
def store(tmp_path):
    return BentoStore(tmp_path / "store", uri=f"file://{tmp_path}/store/")


def pack(tmp_path, content=b"archive", input_hash="aa", version="h-1"):
    packed = tmp_path / f"packed-{content!r}.tar"
    packed.write_bytes(content)
    with packed.open("rb") as stream:
        found = digest(stream)
    return packed, BentoPayload(
        schema=1, kind="bento", tag=f"x:{version}", name="x", version=version, uri=f"somewhere/x/{version}.tar",
        digest=found, input_hash=input_hash, size=len(content), models={}, reused=False,
    )  # fmt: skip


def test_a_published_bento_is_found_by_its_input_and_says_that_it_is_reused(store, tmp_path):
    packed, payload = pack(tmp_path)
    store.publish(packed, payload)
    found = store.find("x", "h-1", "aa")
    assert found == {**payload, "uri": f"file://{tmp_path}/store/x/h-1.tar", "reused": True}


def test_nothing_but_the_archive_and_its_side_file_is_left_in_the_store(store, tmp_path):
    store.check_writable("x")
    store.publish(*pack(tmp_path))
    assert sorted(path.name for path in (tmp_path / "store" / "x").iterdir()) == ["h-1.json", "h-1.tar"]


@pytest.mark.parametrize("damage", ["truncated", "gone", "side file gone", "side file half written"])
def test_an_archive_that_its_side_file_does_not_vouch_for_is_not_found_and_is_replaced(
    store, tmp_path, damage
):
    packed, payload = pack(tmp_path)
    store.publish(packed, payload)
    archive, side_file = (tmp_path / "store" / "x" / f"h-1.{kind}" for kind in ("tar", "json"))
    match damage:
        case "truncated":
            archive.write_bytes(b"arch")
        case "gone":
            archive.unlink()
        case "side file gone":
            side_file.unlink()
        case "side file half written":
            side_file.write_text(side_file.read_text()[:40])
    assert store.find("x", "h-1", "aa") is None
    assert store.publish(packed, payload)["reused"] is False
    assert archive.read_bytes() == b"archive"
    assert store.find("x", "h-1", "aa") is not None


def test_an_explicit_version_is_never_overwritten_by_other_input(store, tmp_path):
    store.publish(*pack(tmp_path, version="1.0"))
    with pytest.raises(BentoVersionTaken, match=r"1\.0"):
        store.find("x", "1.0", "bb")
    with pytest.raises(BentoVersionTaken):
        store.publish(*pack(tmp_path, b"other", "bb", version="1.0"))
    assert (tmp_path / "store/x/1.0.tar").read_bytes() == b"archive"


def test_of_two_builds_of_the_same_input_the_first_one_counts(store, tmp_path):
    first, second = pack(tmp_path, b"first"), pack(tmp_path, b"second")
    results = []
    threads = [
        threading.Thread(target=lambda p=p: results.append(store.publish(*p))) for p in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result["reused"] for result in results) == [False, True]
    assert len({result["digest"] for result in results}) == 1
    assert store.find("x", "h-1", "aa")["digest"] == results[0]["digest"]


def test_a_draft_left_by_a_killed_worker_is_cleared_away(store, tmp_path):
    folder = tmp_path / "store" / "x"
    folder.mkdir(parents=True)
    (folder / ".h-1.tar.abcd").write_bytes(b"half")
    store.publish(*pack(tmp_path))
    assert not list(folder.glob(".*"))


def test_a_store_that_cannot_be_written_is_named_before_and_after(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = BentoStore(tmp_path / "file" / "store", uri="file:///srv/bentos")
    with pytest.raises(StorageUnwritable, match="/srv/bentos"):
        store.check_writable("x")
    with pytest.raises(StorageUnwritable, match="/srv/bentos"):
        store.publish(*pack(tmp_path))


def test_a_full_disk_leaves_no_half_archive(store, tmp_path, monkeypatch):
    def full(_source, out):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StorageUnwritable, match="No space left"):
        store.publish(*pack(tmp_path))
    assert list((tmp_path / "store" / "x").iterdir()) == []


def test_the_side_file_is_the_payload(store, tmp_path):
    packed, payload = pack(tmp_path)
    store.publish(packed, payload)
    assert json.loads((tmp_path / "store/x/h-1.json").read_text()) == payload


def test_an_object_store_keeps_bentos_as_a_disk_does(tmp_path):
    store = BentoStore(UPath(f"memory://{tmp_path.name}/bentos"), uri="memory://bentos")
    packed, payload = pack(tmp_path)
    store.check_writable("x")
    assert store.find("x", "h-1", "aa") is None
    assert store.publish(packed, payload) == payload
    assert store.publish(packed, payload)["reused"] is True
    with pytest.raises(BentoVersionTaken):
        store.find("x", "h-1", "bb")


def test_the_memory_of_an_object_store_is_not_taken_for_the_disk():
    assert not is_local(UPath("memory://bucket/bentos"))
    assert is_local(Path("/srv/bentos"))
