"""The servers start, answer, survive what tests do to them, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.servers.base import Server, ServerFailed, answers
from tests.servers.install import building
from tests.servers.ports import accepts, free_ports
from tests.servers.postgres import Postgres
from tests.servers.registry import Registry
from tests.servers.weaviate import Weaviate

ROOT = Path(__file__).parents[3]


class Plain(Server):
    """Python's own file server: there on every machine."""

    name = "plain"
    start_timeout = 10.0
    arguments: tuple[str, ...] = ()

    @classmethod
    def version(cls) -> str:
        return "1"

    @classmethod
    def missing(cls) -> str | None:
        return None

    @classmethod
    def build(cls) -> None:
        """Nothing to do."""

    @property
    def ports(self) -> dict[str, int]:
        return {"http": self.first_port}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.first_port}"

    def command(self) -> list[str]:
        where = ["--bind", self.host, "--directory", str(self.folder), str(self.first_port)]
        return [sys.executable, "-m", "http.server", *self.arguments, *where]

    def ready(self) -> bool:
        return answers(self.url)


class Deaf(Plain):
    """Ignores the request to stop."""

    name = "deaf"
    stop_timeout = 0.5

    def command(self) -> list[str]:
        code = "import signal, runpy, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); sys.argv[1:] = {}; "
        arguments = ["--bind", self.host, str(self.first_port)]
        return [
            sys.executable,
            "-c",
            code.format(arguments) + "runpy.run_module('http.server', run_name='__main__')",
        ]


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("kind", [Plain, Deaf])
def test_a_stopped_server_leaves_neither_port_nor_folder(kind: type[Server]) -> None:
    with kind() as server:
        assert accepts(server.first_port)
    assert not accepts(server.first_port)
    assert not server.folder.exists()


def test_a_server_that_ends_while_starting_shows_its_log() -> None:
    class Wrong(Plain):
        arguments = ("--no-such-option",)

    with pytest.raises(ServerFailed, match="unrecognized arguments: --no-such-option"):
        Wrong().start()


def test_a_server_that_never_answers_is_given_up() -> None:
    class Mute(Plain):
        start_timeout = 0.5

        def ready(self) -> bool:
            return False

    server = Mute()
    with pytest.raises(ServerFailed, match="did not answer"):
        server.start()
    assert not accepts(server.first_port)


def test_a_killed_server_comes_back_with_its_data() -> None:
    with Plain() as server:
        (server.folder / "kept").write_text("kept")
        server.kill()
        assert not accepts(server.first_port)
        server.launch()
        assert answers(f"{server.url}/kept")


def test_a_killed_run_takes_its_server_along() -> None:
    run = (
        "import sys, time\n"
        "from tests.wire.servers.test_servers import Plain\n"
        "server = Plain(); server.start()\n"
        "print(server.first_port, server.folder, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", run], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        port, folder = process.stdout.readline().split()
        assert accepts(int(port))
        process.kill()
    assert eventually(lambda: not accepts(int(port)))
    assert eventually(lambda: not Path(folder).exists())


def test_free_ports_are_neighbours_that_can_be_bound() -> None:
    first = free_ports(5)
    assert not any(accepts(port) for port in range(first, first + 5))


def test_a_failed_build_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    folder = tmp_path / "tool-1"

    def fail() -> None:
        with building(folder) as scratch:
            assert scratch is not None
            (scratch / "tool").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not folder.exists()
    with building(folder) as scratch:
        assert scratch is not None
        (scratch / "tool").touch()
    with building(folder) as scratch:
        assert scratch is None
    assert (folder / "tool").exists()


def test_weaviate_keeps_an_object(weaviate_server: Weaviate) -> None:
    body = json.dumps({"class": "Smoke", "properties": {"text": "hello"}, "vector": [1.0, 0.0]}).encode()
    request = Request(f"{weaviate_server.url}/v1/objects", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as response:
        kept = json.load(response)
    try:
        with urlopen(f"{weaviate_server.url}/v1/objects/Smoke/{kept['id']}", timeout=10) as response:
            assert json.load(response)["properties"] == {"text": "hello"}
        with urlopen(f"{weaviate_server.url}/v1/meta", timeout=10) as response:
            assert json.load(response)["version"] == weaviate_server.version()
    finally:
        urlopen(Request(f"{weaviate_server.url}/v1/schema/Smoke", method="DELETE"), timeout=10).close()


def test_the_registry_speaks_the_distribution_protocol(registry_server: Registry) -> None:
    with urlopen(f"{registry_server.url}/v2/", timeout=10) as response:
        assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{registry_server.url}/v2/nothing/manifests/latest", timeout=10)
    assert refused.value.code == 404


def test_postgres_serves_a_database_per_asker(postgres_server: Postgres) -> None:
    assert postgres_server.create_database("another").endswith("/another")
    for database in ("airflow", "another"):
        assert postgres_server.sql("select current_user, current_database()", database) == [
            f"airflow|{database}"
        ]


def _pytest(folder: Path, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_it.py"
    test.write_text("import pytest\n\n@pytest.mark.server('weaviate')\ndef test_it(): pass\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.servers.fixtures", "-c", "pyproject.toml", str(test)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "MLOPS_REQUIRE_SERVERS": "0", **environment},
    )


def test_a_missing_server_skips_and_the_end_of_the_run_says_so(tmp_path: Path) -> None:
    done = _pytest(tmp_path, tmp_path / "empty")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert (
        "Real servers: weaviate not available: not built; run: python -m tests.servers build" in done.stdout
    )


def test_a_missing_server_fails_where_servers_are_required(tmp_path: Path) -> None:
    done = _pytest(tmp_path, tmp_path / "empty", MLOPS_REQUIRE_SERVERS="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "server weaviate is required here" in done.stdout


def test_an_available_server_is_counted(tmp_path: Path) -> None:
    binary = (
        tmp_path / "airflow-provider-mlops" / "servers" / f"weaviate-{Weaviate.version()}" / "weaviate-server"
    )
    binary.parent.mkdir(parents=True)
    binary.touch()
    done = _pytest(tmp_path, tmp_path)
    assert f"Real servers: weaviate {Weaviate.version()} exercised by 1 test" in done.stdout, done.stderr


def test_start_by_hand_prints_where_the_server_is_and_stops_on_ctrl_c(registry_server: Registry) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers", "start", "registry"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts["url"] != registry_server.url
        assert answers(facts["url"] + "/v2/")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not accepts(facts["ports"]["http"])
