from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from airflow_provider_mlops.cli.main import main
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.oci.errors import (
    BentoArchiveInvalid,
    ImageNotFound,
    InvalidReference,
    NotABentoImage,
)
from airflow_provider_mlops.oci.image_store import Manifest
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.oci.publish import ci_connection, publish_bento, unpack_bento, unpack_image
from tests.unit.oci.store_contract import put_image


def bento(folder: Path, *, text: str = "x = 1\n") -> Path:
    """A small Bento as a folder."""
    (folder / "src").mkdir(parents=True)
    (folder / "env" / "docker").mkdir(parents=True)
    (folder / "bento.yaml").write_text(
        "name: search\nversion: '7'\ncreation_time: 2026-01-01 00:00:00+00:00\n"
    )
    (folder / "src" / "service.py").write_text(text)
    script = folder / "env" / "docker" / "entrypoint.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return folder


def archive(folder: Path, target: Path, *, top: str = ".") -> Path:
    with tarfile.open(target, "w") as opened:
        opened.add(folder, arcname=top)
    return target


def add(target: Path, name: str, **fields: object) -> Path:
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    with tarfile.open(target, "a") as opened:
        opened.addfile(entry, io.BytesIO(b""))
    return target


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return archive(bento(tmp_path / "bento"), tmp_path / "bento.tar")


@pytest.fixture
def store(tmp_path: Path) -> LayoutRepository:
    return LayoutRepository(tmp_path / "images" / "search")


def test_a_bento_is_published_under_its_content(store: LayoutRepository, packed: Path) -> None:
    image = publish_bento(store, packed)
    assert image["image"] == f"{store.repository}@{image['digest']}"
    assert image["tags"] == store.tags()
    assert image["tags"][0].startswith("b-")
    assert not image["runnable"]
    assert not image["reused"]


def test_the_image_says_that_it_does_not_run(store: LayoutRepository, packed: Path) -> None:
    manifest = store.get_manifest(publish_bento(store, packed)["digest"])
    words = "Bento image (files only, no operating system): mountable, not runnable"
    assert manifest.data["annotations"]["org.opencontainers.image.description"] == words
    config = json.loads(b"".join(store.read_blob(manifest.data["config"]["digest"])))
    assert config["config"]["Labels"]["org.opencontainers.image.description"] == words
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == "7"


def test_the_same_bento_packed_elsewhere_and_later_gives_the_same_image(tmp_path: Path) -> None:
    first = archive(bento(tmp_path / "one"), tmp_path / "one.tar")
    other = bento(tmp_path / "two")
    (other / "src" / "__pycache__").mkdir()
    (other / "src" / "__pycache__" / "service.pyc").write_bytes(b"left by a server")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    (other / "src" / "service.py").chmod(0o600)
    second = archive(other, tmp_path / "two.tar", top="search-7")
    digests = {
        publish_bento(LayoutRepository(tmp_path / name), path)["digest"]
        for name, path in (("a", first), ("b", second))
    }
    assert len(digests) == 1


def test_another_bento_gives_another_image(tmp_path: Path, store: LayoutRepository, packed: Path) -> None:
    other = archive(bento(tmp_path / "two", text="x = 2\n"), tmp_path / "two.tar")
    assert publish_bento(store, packed)["digest"] != publish_bento(store, other)["digest"]


def test_publishing_again_sends_nothing(store: LayoutRepository, packed: Path) -> None:
    first = publish_bento(store, packed)
    again = publish_bento(store, packed)
    assert again == {**first, "reused": True}


def test_the_files_come_back(tmp_path: Path, store: LayoutRepository, packed: Path) -> None:
    image = publish_bento(store, packed)
    folder = unpack_image(image["image"], tmp_path / "served")
    assert (folder / "src" / "service.py").read_text() == "x = 1\n"
    assert (folder / "bento.yaml").is_file()
    assert os.access(folder / "env" / "docker" / "entrypoint.sh", os.X_OK)


def test_a_folder_is_replaced_by_another_image_and_kept_for_the_same(
    tmp_path: Path, store: LayoutRepository, packed: Path
) -> None:
    one = publish_bento(store, packed)["digest"]
    two = publish_bento(store, archive(bento(tmp_path / "two", text="x = 2\n"), tmp_path / "two.tar"))[
        "digest"
    ]
    folder = unpack_bento(store, one, tmp_path / "served")
    (folder / "cache").write_text("of the server")
    assert (unpack_bento(store, one, folder) / "cache").exists()
    assert (unpack_bento(store, two, folder) / "src" / "service.py").read_text() == "x = 2\n"
    assert not (folder / "cache").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_image_without_a_bento_is_named(tmp_path: Path, store: LayoutRepository) -> None:
    digest = put_image(store, "a")
    empty = Manifest.of(
        json.dumps({**store.get_manifest(digest).data, "layers": []}).encode(),
        store.get_manifest(digest).media_type,
    )
    store.put_manifest(empty, empty.digest)
    with pytest.raises(NotABentoImage):
        unpack_bento(store, empty.digest, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_a_repository_is_not_an_image(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound):
        unpack_image("file:///images/search", tmp_path / "served")


def test_a_truncated_archive_publishes_nothing(store: LayoutRepository, packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:2000])
    with pytest.raises(BentoArchiveInvalid, match=r"bento\.tar"):
        publish_bento(store, packed)
    assert store.tags() == []


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../evil", {}),
        ("/etc/evil", {}),
        ("src/evil", {"type": tarfile.SYMTYPE, "linkname": "../../../etc/passwd"}),
        ("src/evil", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("src/evil", {"type": tarfile.CHRTYPE}),
        ("src/evil", {"type": tarfile.LNKTYPE, "linkname": "bento.yaml"}),
    ],
)
def test_entries_that_leave_the_bento_are_refused(
    store: LayoutRepository, packed: Path, name: str, fields: dict[str, object]
) -> None:
    add(packed, name, **fields)
    with pytest.raises(BentoArchiveInvalid, match="evil"):
        publish_bento(store, packed)


def test_an_archive_without_a_bento_is_refused(tmp_path: Path, store: LayoutRepository) -> None:
    folder = bento(tmp_path / "bento")
    (folder / "bento.yaml").unlink()
    with pytest.raises(BentoArchiveInvalid, match=r"no bento\.yaml"):
        publish_bento(store, archive(folder, tmp_path / "x.tar"))
    (folder / "bento.yaml").write_text("[unclosed")
    with pytest.raises(BentoArchiveInvalid, match="no name and version"):
        publish_bento(store, archive(folder, tmp_path / "y.tar"))


def test_the_command_writes_its_result(
    tmp_path: Path, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "out" / "image.json"
    words = ["image", "publish", "--bento", str(packed), "--repository", f"file://{tmp_path}/r/search"]
    assert main([*words, "--result", str(result)]) == 0
    payload = json.loads(result.read_text())
    assert payload == json.loads(capsys.readouterr().out)
    assert payload["runnable"] is False
    assert LayoutRepository(tmp_path / "r" / "search").digest_of(payload["tags"][0]) == payload["digest"]


def test_the_command_publishes_nothing_if_the_result_cannot_be_written(
    tmp_path: Path, packed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["image", "publish", "--bento", str(packed), "--repository", f"file://{tmp_path}/r/search"]
    assert main([*words, "--result", str(packed / "image.json")]) == 1
    assert "StorageUnwritable" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_job_uses_its_credentials_for_its_own_registry_only() -> None:
    variables = {
        "CI_REGISTRY": "r.example.com",
        "CI_REGISTRY_USER": "job",
        "CI_REGISTRY_PASSWORD": "hush-hush",
    }
    assert ci_connection("r.example.com", variables).password == "hush-hush"
    assert ci_connection("elsewhere.example.com", variables) == ConnectionInfo(
        "CI job", host="elsewhere.example.com"
    )
    with pytest.raises(InvalidReference):
        publish_bento_elsewhere(variables)


def publish_bento_elsewhere(variables: dict[str, str]) -> None:
    from airflow_provider_mlops.oci.reference import Reference
    from airflow_provider_mlops.oci.stores import open_store

    open_store(Reference.parse("elsewhere.example.com/x"), ci_connection("r.example.com", variables))


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_and_copies_the_image(tmp_path: Path, store: LayoutRepository, packed: Path) -> None:
    image = publish_bento(store, packed)
    source = f"oci:{tmp_path}/images/search:{image['tags'][0]}"
    done = subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["Digest"] == image["digest"]
    copy = ["skopeo", "copy", "--insecure-policy", source, f"oci:{tmp_path}/copy:v1"]
    subprocess.run(copy, check=True, capture_output=True)
    assert LayoutRepository(tmp_path / "copy").digest_of("v1") == image["digest"]
