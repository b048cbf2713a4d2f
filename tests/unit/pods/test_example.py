"""The example is a DAG, on the Airflow versions it is written for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="the examples are written for Airflow 3")

EXAMPLE = Path(__file__).parents[3] / "example_dags" / "train_on_gpu.py"


@pytest.fixture(scope="module")
def dag() -> Any:
    found = importlib.util.spec_from_file_location("train_on_gpu_example", EXAMPLE)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.train_on_gpu()


def test_the_tasks_of_the_example_carry_its_recipes(dag: Any) -> None:
    train, evaluate = dag.get_task("train"), dag.get_task("evaluate")
    assert train.downstream_task_ids == {"evaluate"}
    assert train.container_resources.limits["nvidia.com/gpu"] == "1"
    assert [volume.name for volume in train.full_pod_spec.spec.volumes] == ["checkpoints", "shared-memory"]
    container = evaluate.executor_config["pod_override"].spec.containers[0]
    assert container.name == "base"
    assert container.resources.limits["nvidia.com/gpu"] == "1"


def test_the_scheduler_gets_the_whole_example(dag: Any) -> None:
    from airflow.serialization import serialized_objects

    serializer = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    assert "nvidia.com/gpu" in str(serializer.to_dict(dag))
