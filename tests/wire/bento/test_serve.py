from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from airflow_provider_mlops.bento.errors import ArchiveDamaged
from airflow_provider_mlops.bento.serve import serve_command, unpack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def ask(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_ready(process, port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            return ask(port, "/readyz")
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not get ready")


def test_a_stored_bento_is_served_with_nothing_but_its_archive(
    build, context, isolated, weights, tmp_path, port
):
    payload = build(context)
    weights.unlink()
    folder = unpack(Path(payload["uri"]), tmp_path / "unpacked", digest=payload["digest"])
    before = sorted(folder.rglob("*"))
    argv, environment = serve_command(folder, python=isolated.python, work=tmp_path / "work", port=port)
    process = subprocess.Popen(argv, env=environment, cwd=tmp_path / "work", start_new_session=True)
    try:
        wait_until_ready(process, port)
        assert json.loads(ask(port, "/score", {"x": 4})) == 10
        assert json.loads(ask(port, "/docs.json"))["info"]["version"] == payload["version"]
    finally:
        process.terminate()
        process.wait(30)
    with pytest.raises(OSError, match="refused"):
        ask(port, "/readyz")
    assert sorted(folder.rglob("*")) == before


def test_an_archive_that_is_not_the_promised_one_is_not_unpacked(build, context, tmp_path):
    payload = build(context)
    archive = Path(payload["uri"])
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged, match="digest"):
        unpack(archive, tmp_path / "unpacked", digest=payload["digest"])
    assert not (tmp_path / "unpacked").exists()
