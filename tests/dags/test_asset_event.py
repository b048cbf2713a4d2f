"""The event of an index's asset, in a real Airflow's database."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3
from tests.dags.conftest import Airflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("lancedb")


def test_it_holds_version_counts_and_the_gates_report(home: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"query": "page 12", "expected": ["doc12"]}\n')
    artifacts = (tmp_path / "artifacts").as_uri()
    airflow = Airflow(
        home, Path(__file__).with_name("asset_events"), {"AIRFLOW__MLOPS__ARTIFACTS": artifacts}
    )
    airflow.python("-m", "airflow", "db", "migrate")
    if not AIRFLOW_3:
        # There, only what a scheduler has read gets events.
        airflow.python("-m", "airflow", "dags", "reserialize")
    conf = json.dumps({"golden": str(golden)})
    shown = airflow.python("-m", "airflow", "dags", "test", "indexed", "--conf", conf)
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        rows = database.execute(f"SELECT extra FROM {'asset_event' if AIRFLOW_3 else 'dataset_event'}")
        events = [json.loads(extra) for (extra,) in rows]
    assert len(events) == 1, shown.stdout + shown.stderr
    (event,) = events
    counts = {
        "documents": 20,
        "chunks": 20,
        "added": 20,
        "updated": 0,
        "deleted": 0,
        "unchanged": 0,
        "bad": 0,
    }
    assert {name: event[name] for name in counts} == counts
    assert event["version"].startswith("v1_")
    assert (event["active"], event["action"], event["previous_version"]) == (True, "built", None)
    assert (event["gate"]["queries"], event["gate"]["recall"], event["gate"]["passed"]) == (1, 1.0, True)
    assert event["duration"] > 0
