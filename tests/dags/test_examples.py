"""Every example is found, parsed and handed to the scheduler without a complaint. The release pipeline itself is run
by the tests of the demo, the training pods need a cluster."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3
from tests.dags.conftest import Airflow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AIRFLOW_3, reason="the examples are written for Airflow 3"),
    pytest.mark.skipif(
        find_spec("sklearn") is None,
        reason="the release pipeline names the version of scikit-learn (extra demo)",
    ),
]

EXAMPLES = Path(__file__).parents[2] / "example_dags"
TASKS = {
    "release_pipeline": {
        "collect": ["index", "train"],
        "train": ["build", "release"],
        "build": ["publish", "release"],
        "publish": ["tag"],
        "tag": ["release"],
        "index": ["release"],
        "release": [],
    },
    "rollback": {"rollback": []},
    "sharded_index": {"plan": ["load"], "load": ["index"], "index": []},
    "train_on_gpu": {"train": ["evaluate"], "evaluate": []},
}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of the example folder, copied as an author would copy it."""
    home = tmp_path_factory.mktemp("airflow-home")
    dags = shutil.copytree(EXAMPLES, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    done = Airflow(home, dags).python(str(Path(__file__).with_name("parse_folder.py")), str(dags))
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_all_of_them_parse(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert parsed["dags"].keys() == TASKS.keys()


def test_none_of_them_makes_airflow_or_us_warn(parsed: dict[str, Any]) -> None:
    assert parsed["warnings"] == []


@pytest.mark.parametrize("dag_id", TASKS)
def test_what_one_task_takes_from_another_orders_them(parsed: dict[str, Any], dag_id: str) -> None:
    tasks = parsed["dags"][dag_id]["tasks"]
    assert {name: downstream for name, (_, downstream) in tasks.items()} == TASKS[dag_id]


@pytest.mark.parametrize("dag_id", TASKS)
def test_the_scheduler_reads_back_what_was_written(parsed: dict[str, Any], dag_id: str) -> None:
    dag = parsed["dags"][dag_id]
    assert dag["read_back"] == dag["tasks"]
