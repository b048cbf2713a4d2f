"""A server that indexes vectors after it has acknowledged them (``ASYNC_INDEXING``)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import progress
from airflow_provider_mlops.vector.errors import WritesUnconfirmed
from airflow_provider_mlops.vector.ids import chunk_ids
from airflow_provider_mlops.vector.stores import open_store, weaviate_queue
from airflow_provider_mlops.vector.stores.base import Build, Layout, Row
from tests.servers.weaviate import Weaviate

pytestmark = [pytest.mark.server("weaviate"), pytest.mark.slow]
ROWS, DIMENSION = 4000, 256


@pytest.fixture(scope="module")
def info() -> Iterator[ConnectionInfo]:
    with Weaviate({"ASYNC_INDEXING": "true"}) as server:
        ports = server.ports
        yield ConnectionInfo("w", host=server.host, port=ports["http"], extra={"grpc_port": ports["grpc"]})


@pytest.fixture
def build(info: ConnectionInfo, request: pytest.FixtureRequest) -> Iterator[Build]:
    """A version with vectors that the server has just acknowledged."""
    vectors = np.random.default_rng(7).standard_normal((ROWS, DIMENSION)).astype(np.float32)
    rows = [
        Row(chunk_ids("Docs", key, ["text"])[0], key, 0, "digest", "text", {}, vector)
        for key, vector in zip(map(str, range(ROWS)), vectors, strict=True)
    ]
    with open_store(
        "weaviate", request.param, conn_id="w", uri=None, connections=lambda conn_id: info
    ) as store:
        build = store.begin("v1_00000000", Layout(DIMENSION, "cosine", {}, False), None)
        assert build.upsert(rows, lacking=True).uncertain == []
        yield build


@pytest.mark.parametrize("build", ["Told"], indirect=True)
def test_the_wait_ends_when_all_is_found_and_tells_how_much_is_left(
    build: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger=progress.__name__)
    build.settle()
    assert build.unfindable([chunk for chunk, _, _ in build.scan()][: ROWS // 10]) == []
    lines = [record.getMessage() for record in caplog.records]
    assert lines, "the queue was empty at once"
    told = [
        re.fullmatch(r"Collection 'Told_v1_00000000': [0-9,]+ of ([0-9,]+) queued vectors indexed .*", line)
        for line in lines
    ]
    assert all(told), lines
    assert max(int(match[1].replace(",", "")) for match in told if match) > 0


@pytest.mark.parametrize("build", ["Late"], indirect=True)
def test_a_queue_that_does_not_empty_in_time_is_an_error(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weaviate_queue, "QUEUE_SECONDS", -1.0)
    with pytest.raises(WritesUnconfirmed, match="index queue is not empty"):
        build.settle()
