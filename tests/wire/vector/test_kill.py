"""A worker killed with SIGKILL at a random moment, and at the worst ones: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import CallableEmbedder, HashEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.indexing import RunOptions, run
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.verify import heal
from tests.servers.weaviate import Weaviate
from tests.wire.vector.conftest import Reach

pytest.importorskip("lancedb")
DOCUMENTS = 600


def embed(texts: list[str]) -> Any:
    """Runs in the child: dies in the middle of the run if the environment says so."""
    time.sleep(float(os.environ.get("SECONDS_PER_BATCH", "0")))
    left = os.environ.get("DIE_AFTER_TEXTS")
    if left is not None:
        os.environ["DIE_AFTER_TEXTS"] = str(int(left) - len(texts))
        if int(left) < len(texts):
            os.kill(os.getpid(), signal.SIGKILL)
    return HashEmbedder(32).embed(texts)


def documents(generation: int) -> list[dict[str, Any]]:
    """A third of the documents changes from one generation to the next; a few come and go."""
    first = generation % 7
    return [
        {"id": f"doc{n}", "text": f"page{n} issue{(n + generation) // 3} of the log"}
        for n in range(first, DOCUMENTS + first)
    ]


def child(arguments: dict[str, Any]) -> None:
    """What the killed process does: one run."""
    index = VectorIndex.from_json(arguments["index"])
    info = ConnectionInfo("w", **arguments["connection"])
    docs = documents(arguments["generation"])
    with open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=lambda name: info
    ) as store:
        sys.stdout.write("go\n")
        sys.stdout.flush()
        options = RunOptions(batch_size=50, activate=arguments["activate"])
        run(index, Records(lambda: docs), store, RowMaker(index.embedder), options, holder="h", on_bad=print)


@pytest.fixture(params=["lancedb", "weaviate"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[VectorIndex, dict[str, Any]]]:
    embedder = CallableEmbedder("tests.wire.vector.test_kill:embed", 32)
    if request.param == "lancedb":
        yield VectorIndex("Docs", embedder=embedder, uri=str(tmp_path)), {}
        return
    reach: Reach = request.getfixturevalue("reach")
    connection = {"host": reach.info.host, "port": reach.info.port, "extra": dict(reach.info.extra)}
    yield VectorIndex(reach.index, embedder=embedder, backend="weaviate", conn_id="w"), connection


def start(
    place: tuple[VectorIndex, dict[str, Any]], generation: int, activate: bool, **env: str
) -> subprocess.Popen[bytes]:
    index, connection = place
    arguments = {
        "index": index.to_json(), "connection": connection, "generation": generation, "activate": activate,
    }  # fmt: skip
    code = "import json, sys; from tests.wire.vector.test_kill import child; child(json.loads(sys.argv[1]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)], env={**os.environ, **env}, stdout=subprocess.PIPE
    )


def ended(process: subprocess.Popen[bytes]) -> int:
    """Exit code; reading to the end also closes the pipe."""
    process.communicate(timeout=200)
    return process.returncode


def live(place: tuple[VectorIndex, dict[str, Any]]) -> list[tuple[str, str]]:
    """(document, text) of every chunk that readers see; each of them must be found by its own vector."""
    index, connection = place
    info = ConnectionInfo("w", **connection)
    with open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=lambda name: info
    ) as store:
        version = store.live()
        if version is None:
            return []
        snapshot = store.read(version.name)
        rows = list(snapshot.rows([chunk for chunk, _, _ in snapshot.scan()]).values())
        import numpy as np

        sample = random.Random(1).sample(rows, 200)
        answers = snapshot.search(np.stack([row.vector for row in sample]), 10)
        for row, hits in zip(sample, answers, strict=True):
            near = [hit.id for hit in hits]
            assert row.id in near or (hits[-1].distance or 0) < 1e-4, (
                f"{row.doc} is not found by its own vector"
            )
    return sorted((row.doc, row.text) for row in rows)


def expected(generation: int) -> list[tuple[str, str]]:
    return sorted((doc["id"], doc["text"]) for doc in documents(generation))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_runs_leave_a_whole_index_and_the_next_one_completes_it(
    place: tuple[VectorIndex, dict[str, Any]],
) -> None:
    assert ended(start(place, 0, True)) == 0
    assert live(place) == expected(0)
    chance = random.Random(20)
    killed = 0
    for attempt in range(1, 7):
        before = {doc for doc, _ in live(place)}
        # Odd attempts die at a chosen text, even ones at any moment.
        if attempt % 2:
            process = start(
                place, attempt, attempt % 3 > 0, DIE_AFTER_TEXTS=str(chance.randrange(0, 200, 25))
            )
        else:
            process = start(place, attempt, attempt % 3 > 0)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.0, 1.5))
            process.kill()
        killed += ended(process) == -signal.SIGKILL
        now = {doc for doc, _ in live(place)}
        # Readers never see a hole: what was there, and is wanted, is there.
        assert now >= before & {doc["id"] for doc in documents(attempt)}
        if attempt % 3 == 0:
            assert ended(start(place, attempt, True)) == 0
            assert live(place) == expected(attempt)
    assert killed >= 3
    assert ended(start(place, 7, True)) == 0
    assert live(place) == expected(7)


@pytest.mark.slow
@pytest.mark.server("weaviate")
@pytest.mark.timeout(500)
def test_killed_server_hides_no_chunk_for_good() -> None:
    """A crash of Weaviate can keep objects and lose their place in the graph; counts and scans cannot see that."""
    with Weaviate() as server:
        connection = {
            "host": server.host,
            "port": server.ports["http"],
            "extra": {"grpc_port": server.ports["grpc"]},
        }
        embedder = CallableEmbedder("tests.wire.vector.test_kill:embed", 32)
        index = VectorIndex("Docs", embedder=embedder, backend="weaviate", conn_id="w")
        info = ConnectionInfo("w", **connection)
        chance = random.Random(5)
        for generation in range(3):
            process = start((index, connection), generation, True, SECONDS_PER_BATCH="0.5")
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.2, 1.5))
            server.kill()
            server.launch()
            if ended(process) != 0:
                assert ended(start((index, connection), generation, True)) == 0
            with open_store(
                "weaviate", "Docs", conn_id="w", uri=None, connections=lambda name: info
            ) as store:
                version = store.live()
                assert version is not None
                build = store.resume(version.name)
                chunks = [chunk for chunk, _, _ in build.scan()]
                before = set(expected(generation - 1)) if generation else set()
                rows = build.rows(build.unfindable(chunks))
                # What earlier runs wrote may be lost without a run that could notice: that takes an audit.
                assert [row.doc for row in rows.values() if (row.doc, row.text) not in before] == []
                with store.lease("audit") as lease:
                    heal(build, chunks, lease)
                assert build.unfindable(chunks) == []
            assert live((index, connection)) == expected(generation)
