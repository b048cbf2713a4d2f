"""An index name of its own per test, on the one server of the run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import HashEmbedder, SentenceChunker, VectorIndex
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.servers.weaviate import Weaviate

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Reach:
    """How a test reaches the server, and the index it may use."""

    info: ConnectionInfo
    index: str


@pytest.fixture
def reach(weaviate_server: Weaviate) -> Iterator[Reach]:
    ports = weaviate_server.ports
    info = ConnectionInfo(
        "w", host=weaviate_server.host, port=ports["http"], extra={"grpc_port": ports["grpc"]}
    )
    index = f"Docs{next(_numbers)}"
    yield Reach(info, index)
    with connect(info) as client:
        client.alias.delete(alias_name=index)
        for name in client.collections.list_all():
            if name.startswith(f"{index}_"):
                client.collections.delete(name)


@pytest.fixture
def index(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> VectorIndex:
    """For tests of tasks, which find the server in a connection."""
    connection = {"conn_type": "weaviate", "host": reach.info.host, "port": reach.info.port}
    monkeypatch.setenv("AIRFLOW_CONN_W", json.dumps({**connection, "extra": dict(reach.info.extra)}))
    return VectorIndex(
        reach.index,
        embedder=HashEmbedder(64),
        chunker=SentenceChunker(max_size=40),
        backend="weaviate",
        conn_id="w",
    )
