"""A pod for tasks of the KubernetesExecutor, which takes the first container for the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.pods.render.models import to_pod
from airflow_provider_mlops.pods.render.templates import refuse_templates

if TYPE_CHECKING:
    from airflow_provider_mlops.pods.render.models import V1Pod

_WHY = "Airflow renders no Jinja in pods of the KubernetesExecutor"


def executor_pod(pod: Mapping[str, Any]) -> V1Pod:
    """:raises RecipeInvalid: an unknown field, a wrong type, or Jinja."""
    refuse_templates(pod, _WHY)
    return to_pod(pod)


def executor_pod_yaml(pod: Mapping[str, Any]) -> str:
    """The same as a file. Raises as :func:`executor_pod`."""
    import yaml

    executor_pod(pod)
    return str(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **pod}, sort_keys=False))
