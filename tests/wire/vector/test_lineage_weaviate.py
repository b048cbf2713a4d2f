"""What OpenLineage is told of an index on a real Weaviate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex
from tests.openlineage_client import as_sent
from tests.unit.vector.indexing_contract import documents
from tests.unit.vector.task_contract import CONTEXT
from tests.wire.vector.conftest import Reach


@pytest.mark.usefixtures("lineage_provider")
def test_it_is_named_for_its_server_and_its_alias(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {
        "conn_type": "weaviate",
        "host": reach.info.host,
        "port": reach.info.port,
        "password": "hunter2secret",
        "extra": {**reach.info.extra, "additional_headers": {"X-OpenAI-Api-Key": "hunter3secret"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SEARCH", json.dumps(connection))
    index = VectorIndex(reach.index, embedder=HashEmbedder(64), backend="weaviate", conn_id="search")
    task = VectorIndexOperator(task_id="t", index=index, source=Records(documents))
    payload: Any = task.execute(CONTEXT)
    event = as_sent(task.get_openlineage_facets_on_complete(None))
    (written,) = event["outputs"]
    assert (written["namespace"], written["name"]) == (
        f"weaviate://{reach.info.host}:{reach.info.port}",
        reach.index,
    )
    assert written["facets"]["version"]["datasetVersion"] == payload["version"]
    assert event["run"]["facets"]["vector_index"]["physical"] == payload["physical"]
    assert [number for number in "23" if f"hunter{number}secret" in json.dumps(event)] == []
