from __future__ import annotations

import io
import json
import multiprocessing
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.oci.errors import LayoutCorrupt, LayoutFull
from airflow_provider_mlops.oci.image_store import ImageStore, sha256_digest
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.oci.promotion import promote, tag_image
from tests.unit.oci.store_contract import ImageStoreContract, put_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images" / "search"


@pytest.fixture
def store(folder: Path) -> ImageStore:
    return LayoutRepository(folder)


class TestLayoutContract(ImageStoreContract):
    pass


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_a_truncated_manifest_is_corrupt_and_not_served(store: ImageStore, folder: Path) -> None:
    digest = put_image(store, "a")
    tag_image(store, digest, ["v1"])
    blob = _blob(folder, digest)
    blob.write_bytes(blob.read_bytes()[:40])
    with pytest.raises(LayoutCorrupt, match=digest):
        store.get_manifest("v1")


def test_a_truncated_blob_does_not_count_and_is_written_again(store: ImageStore, folder: Path) -> None:
    content = b"layer" * 1000
    digest = sha256_digest(content)
    store.write_blob(digest, io.BytesIO(content))
    _blob(folder, digest).write_bytes(content[:100])
    assert not store.has_blob(digest)
    with pytest.raises(LayoutCorrupt):
        b"".join(store.read_blob(digest))
    store.write_blob(digest, io.BytesIO(content))
    assert b"".join(store.read_blob(digest)) == content


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}"])
def test_a_damaged_index_is_an_error_not_an_empty_repository(
    store: ImageStore, folder: Path, damage: bytes
) -> None:
    put_image(store, "a")
    (folder / "index.json").write_bytes(damage)
    with pytest.raises(LayoutCorrupt, match=r"index\.json"):
        store.tags()
    with pytest.raises(LayoutCorrupt):
        put_image(store, "b")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow past 64 KiB: the kernel fails the write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_nothing_half_written(store: ImageStore, folder: Path) -> None:
    content = b"x" * (1 << 20)
    with pytest.raises(LayoutFull):
        store.write_blob(sha256_digest(content), io.BytesIO(content))
    assert list((folder / "blobs" / "sha256").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_tried(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = LayoutRepository(tmp_path / "file" / "search")
    with pytest.raises(StorageUnwritable):
        store.check_writable()
    with pytest.raises(StorageUnwritable):
        put_image(store, "a")


def _tag_many(folder: Path, digest: str, names: list[str]) -> None:
    store = LayoutRepository(folder)
    for name in names:
        tag_image(store, digest, [name])


def test_two_writers_at_once_lose_no_tag(store: ImageStore, folder: Path) -> None:
    digest = put_image(store, "a")
    context = multiprocessing.get_context("spawn")
    names = [[f"w{writer}-{number}" for number in range(25)] for writer in range(2)]
    writers = [context.Process(target=_tag_many, args=(folder, digest, mine)) for mine in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert sorted(store.tags()) == sorted(name for mine in names for name in mine)
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 50


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_layout(store: ImageStore, folder: Path) -> None:
    digest = put_image(store, "a")
    promote(store, digest, "production")
    done = subprocess.run(
        ["skopeo", "inspect", f"oci:{folder}:production"], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["Digest"] == digest
