from __future__ import annotations

import io
import os
import tarfile
import time

import pytest

from airflow_provider_mlops.bento.archive import digest, unpack_archive, write_archive
from airflow_provider_mlops.bento.errors import ArchiveDamaged

BENTO_YAML = "name: x\ncreation_time: '{time}'\nmodels:\n- creation_time: {time}\n"


def make(root, *, when, mode=0o644):
    """A Bento as two builds at different times and with different umasks leave it."""
    bento, model = root / "bento", root / "model"
    for path, text in {
        bento / "bento.yaml": BENTO_YAML.format(time=when),
        bento / "src" / "service.py": "print()\n",
        bento / "src" / "bento.yaml": "creation_time: '2020-02-02T00:00:00'\n",
        bento / "src" / "__pycache__" / "service.pyc": when,
        model / "model.yaml": f"creation_time: '{when}'\n",
        model / "weights.bin": "1",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    script = bento / "entrypoint.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(mode | 0o100)
    os.utime(script, (time.time() - 9999, 5))
    (bento / "link").symlink_to("entrypoint.sh")
    return bento, {"classifier:0123": model}


def packed(root, **state):
    target = io.BytesIO()
    write_archive(target, *make(root, **state))
    return target.getvalue()


def test_times_and_modes_of_the_build_do_not_show(tmp_path):
    one = packed(tmp_path / "one", when="2026-01-01T00:00:00.123456+00:00")
    two = packed(tmp_path / "two", when="2027-07-07T07:07:07+00:00", mode=0o600)
    assert digest(io.BytesIO(one)) == digest(io.BytesIO(two))


def test_an_archive_unpacks_to_the_same_files_with_its_models(tmp_path):
    data = packed(tmp_path / "source", when="2026-01-01T00:00:00+00:00")
    unpack_archive(io.BytesIO(data), tmp_path / "out")
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    assert files == {
        "bento.yaml",
        "entrypoint.sh",
        "link",
        "src/service.py",
        "src/bento.yaml",
        "models/classifier/latest",
        "models/classifier/0123/model.yaml",
        "models/classifier/0123/weights.bin",
    }
    assert os.access(out / "entrypoint.sh", os.X_OK)
    assert (out / "models/classifier/latest").read_text() == "0123"
    # Only BentoML's own files are normalised, never the user's.
    assert "2020-02-02" in (out / "src/bento.yaml").read_text()


def test_a_truncated_archive_is_named_as_damaged(tmp_path):
    data = packed(tmp_path / "source", when="2026-01-01T00:00:00+00:00")
    with pytest.raises(ArchiveDamaged):
        unpack_archive(io.BytesIO(data[:700]), tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"\0" * 10240, b"not a tar" * 100])
def test_what_is_no_bento_is_refused(tmp_path, data):
    with pytest.raises(ArchiveDamaged):
        unpack_archive(io.BytesIO(data), tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil"])
def test_a_member_that_leads_outside_writes_nothing_there(tmp_path, name):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    target.seek(0)
    with pytest.raises(ArchiveDamaged):
        unpack_archive(target, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "evil").exists()
