"""What the operators of this station share."""

from __future__ import annotations

from airflow_provider_mlops.compat import Context
from airflow_provider_mlops.config import namespace
from airflow_provider_mlops.errors import ExtraMissing


def lease_holder(context: Context) -> str:
    """Name of a task in the lease of an index: the same for all its tries, and for no other task."""
    task = context["ti"]
    return "/".join(map(str, (namespace(), task.dag_id, task.run_id, task.task_id, task.map_index)))


def check_numpy() -> None:
    """Vectors are arrays.

    :raises ExtraMissing: numpy is not installed.
    """
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise ExtraMissing(
            "Vector indexes need numpy", next_step="pip install 'airflow-provider-mlops[vector]'"
        ) from error
