"""Plan, mapped shards and the run that finishes, with ``airflow dags test`` on every supported Airflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores.lance import open_lance
from tests.dags.conftest import Airflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("lancedb")


def test_mapped_tasks_load_an_index_and_an_unchanged_source_loads_nothing(home: Path, tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(f'{{"id": "doc{n}", "text": "page {n}"}}\n' for n in range(60)))
    artifacts = tmp_path / "artifacts"
    airflow = Airflow(
        home,
        Path(__file__).with_name("airflow_2"),
        {"AIRFLOW__MLOPS__ARTIFACTS": artifacts.as_uri(), "LANCEDB_LOG": "error"},
    )
    airflow.python("-m", "airflow", "db", "migrate")
    run = ("-m", "airflow", "dags", "test", "sharded", "--conf", json.dumps({"documents": str(documents)}))
    first = airflow.python(*run)
    index = VectorIndex("Pages", embedder=HashEmbedder(64), uri=str(artifacts / "vector"))
    store = open_lance("Pages", uri=index.uri, connection=None)
    live = store.live()
    assert live is not None
    assert store.read(live.name).count() == 60
    assert search(index, "page 33", k=1, connections=None)[0].doc == "doc33"  # type: ignore[arg-type]
    said = first.stdout + first.stderr
    assert all(f"shard {number}: Loaded(" in said for number in range(3))
    # All was there when the index task came.
    assert f"Version {live.name}: 0 chunks to add, 0 to update, 0 to delete, 60 stay" in said
    again = airflow.python(*run)
    assert (again.stdout + again.stderr).count("the plan found nothing to load") >= 3
    assert [version.name for version in store.versions()] == [live.name]
