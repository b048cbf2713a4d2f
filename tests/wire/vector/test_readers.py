"""The example's LangChain and LlamaIndex retrievers over a finished index, in an environment without Airflow."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.activate import IndexRef, activate
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.servers.retrievers import Retrievers
from tests.unit.vector.indexing_contract import document, documents
from tests.wire.vector.conftest import Reach

pytestmark = [pytest.mark.server("retrievers"), pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("lancedb")

ROOT = Path(__file__).parents[3]
READERS = pytest.mark.parametrize("reader", ["langchain_reader", "llama_index_reader"])


class Reader:
    """One retriever in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def heard(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            raise AssertionError(errors)
        return json.loads(line)

    def ask(self, query: str) -> list[dict[str, Any]]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(query) + "\n")
        self._process.stdin.flush()
        found: list[dict[str, Any]] = self.heard()
        return found


@contextmanager
def reading(module: str, index: VectorIndex, **told: Any) -> Iterator[Reader]:
    program = str(Path(__file__).with_name("reader_process.py"))
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))
    }
    process = subprocess.Popen(
        [str(Retrievers.python()), program, module, json.dumps({"index": index.to_json(), **told})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_dags")])},
    )
    try:
        yield Reader(process)
    finally:
        process.kill()
        process.communicate()


def bring(
    index: VectorIndex, docs: list[dict[str, Any]], info: ConnectionInfo | None, **options: Any
) -> Outcome:
    """What an index task does."""
    with open_store(
        index.backend,
        index.name,
        conn_id=index.connection,
        uri=index.uri,
        connections=lambda conn_id: info,  # type: ignore[arg-type, return-value]
    ) as store:
        source = Records(lambda: docs)
        maker = RowMaker(index.embedder)
        return run(index, source, store, maker, RunOptions(**options), holder="t", on_bad=lambda *_: None)


def check(reader: Reader, index: VectorIndex, info: ConnectionInfo | None) -> None:
    """It answers from what is live, and from nothing else, without being opened again."""
    assert reader.heard() == {"ready": True, "airflow": False}
    found = reader.ask("page17")
    assert len(found) == 3
    assert (found[0]["doc"], found[0]["text"], found[0]["year"]) == ("doc17", document(17)["text"], 2017)
    assert "digest" not in found[0] or index.backend == "weaviate"

    changed = [*documents()[:17], document(17, text="an entirely different subject"), *documents()[18:]]
    beside = bring(index, changed, info, activate=False)
    assert not beside.active
    assert reader.ask("page17")[0]["text"] == document(17)["text"]

    version = beside.version
    where = IndexRef(index.name, index.backend, version.name, version.physical, index.connection, index.uri)
    activate(where, lambda conn_id: info)  # type: ignore[arg-type, return-value]
    (first, *_) = reader.ask("an entirely different subject")
    assert (first["doc"], first["text"]) == ("doc17", "an entirely different subject")
    assert "doc17" not in [hit["doc"] for hit in reader.ask("page17")]


@READERS
def test_a_retriever_follows_the_live_tag_in_lancedb(tmp_path: Path, reader: str) -> None:
    index = VectorIndex(
        "Docs", embedder=HashEmbedder(128), properties={"year": "int"}, uri=str(tmp_path / "lance")
    )
    bring(index, documents(), None)
    with reading(reader, index) as asked:
        check(asked, index, None)


@READERS
def test_a_retriever_follows_the_alias_in_weaviate(reach: Reach, reader: str) -> None:
    index = VectorIndex(
        reach.index, embedder=HashEmbedder(128), properties={"year": "int"}, backend="weaviate"
    )
    bring(index, documents(), reach.info)
    ports = {"host": reach.info.host, "port": reach.info.port, "grpc_port": reach.info.extra["grpc_port"]}
    with reading(reader, index, server=ports) as asked:
        check(asked, index, reach.info)


@READERS
def test_a_retriever_of_an_index_that_was_never_built_makes_nothing(reach: Reach, reader: str) -> None:
    index = replace(VectorIndex("Docs", backend="weaviate"), name=reach.index)
    ports = {"host": reach.info.host, "port": reach.info.port, "grpc_port": reach.info.extra["grpc_port"]}
    with reading(reader, index, server=ports) as asked:
        assert asked.heard() == {"refused": f"Index {reach.index!r} was never built"}
    with connect(reach.info) as client:
        assert not client.collections.exists(reach.index)
