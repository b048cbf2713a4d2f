"""The contract of a feature, and what it is told about where the pod goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import Any

from airflow_provider_mlops.pods.catalogue import Platform


@dataclass(frozen=True)
class Target:
    """Where and how a pod will run.

    :param platform: the kind of cluster.
    :param templated: Airflow renders Jinja in the result (KubernetesPodOperator); otherwise the pod belongs to
        the KubernetesExecutor, which annotates it with ``dag_id``, ``run_id``, ``task_id`` and ``map_index``.
    :param last_try: whether no retry is left; None where that is not known yet.
    """

    platform: Platform = "gfd"
    templated: bool = False
    last_try: bool | None = None


@dataclass(frozen=True)
class Feature(ABC):
    """One wish about a pod. Subclasses are frozen dataclasses that check their arguments when made."""

    @abstractmethod
    def fragment(self, target: Target) -> dict[str, Any]:
        """The part of the pod that this feature asks for, as in Kubernetes YAML."""

    def __str__(self) -> str:
        """The name in conflicts and explanations: the call, without arguments left at their default."""
        said = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.default is MISSING or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"


def base_container(**fields: Any) -> dict[str, Any]:
    """The part of a fragment that is about the main container."""
    return {"name": "base", **fields}
