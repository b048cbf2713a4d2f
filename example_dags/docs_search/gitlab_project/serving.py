"""Serve a Bento, wait until it is ready, ask it, stop it. Standard library only, so a CI job can run it.

python serving.py file:///folder/docs_search.tar "some text"
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

READY_WITHIN = 180.0
STOP_WITHIN = 15.0


class Service:
    """A served Bento at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, route: str, **body: Any) -> Any:
        """POST a JSON body to an API of the service and return its answer."""
        request = urllib.request.Request(
            f"{self.url}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        return json.loads(text) if "json" in answer.headers.get_content_type() else text

    def version(self) -> str:
        """Version of the Bento that answers, from its OpenAPI document."""
        with urllib.request.urlopen(f"{self.url}/docs.json", timeout=30) as answer:
            return str(json.load(answer)["info"]["version"])


@contextlib.contextmanager
def serve(
    bento: Path,
    *,
    environment: Mapping[str, str] | None = None,
    command: str = "bentoml",
    log: Path | None = None,
) -> Iterator[Service]:
    """Serve an unpacked Bento on a free loopback port; it is stopped when the block ends.

    :param bento: folder of the Bento.
    :param environment: variables for the service, on top of the present ones.
    :param command: the bentoml program.
    :param log: file for the service's output.
    :raises RuntimeError: it ended, or was not ready in time; carries the end of its output.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bentoml-") as home:
        output = log or Path(home) / "serve.log"
        variables = {
            **os.environ,
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "true",
            **(environment or {}),
        }
        with output.open("ab") as sink:
            process = subprocess.Popen(
                [command, "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)],
                env=variables, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                _wait_until_ready(process, port, output)
                yield Service(f"http://127.0.0.1:{port}")
            finally:
                _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2).close()
            return
        time.sleep(0.1)
    state = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
    raise RuntimeError(
        f"The service {state}:\n" + "\n".join(output.read_text(errors="replace").splitlines()[-15:])
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the main process only: the worker lives in a session of its own and is stopped by it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        for pid in descendants(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, whatever their sessions."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def unpack(archive: str, folder: Path) -> Path:
    """Unpack a Bento archive given as a path or a ``file://`` URI."""
    parts = urllib.parse.urlsplit(archive)
    path = Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" else Path(archive)
    with tarfile.open(path) as tar:
        tar.extractall(folder, filter="data")
    return folder


def main(archive: str, text: str) -> int:
    folder = Path(tempfile.mkdtemp(prefix="bento-"))
    try:
        with serve(unpack(archive, folder)) as service:
            print(f"version {service.version()} is ready")
            print(f"{text!r} belongs to: {service.ask('predict', text=text)}")
            print("about:", service.ask("about"))
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
