"""CPU, memory and scratch space."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from airflow_provider_mlops.pods.checks import is_template, quantity
from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.features.feature import Feature, Target, base_container


@dataclass(frozen=True)
class Resources(Feature):
    """What the main container gets. Values are quantities, or Jinja for a KubernetesPodOperator.

    :param cpu: requested; not limited, so that idle cores of the node can be used.
    :param memory: requested and limited alike, so that the node cannot run out of it.
    :param ephemeral: scratch space on the node's disk, requested and limited.
    :param cpu_limit: a limit all the same, for clusters that insist on one.
    """

    cpu: str | float | None = None
    memory: str | None = None
    ephemeral: str | None = None
    cpu_limit: str | float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not is_template(value):
                quantity(value, f"Resources {field.name}")
        if all(getattr(self, field.name) is None for field in fields(self)):
            raise RecipeInvalid("Resources asks for nothing", next_step="Give cpu, memory or ephemeral.")

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        requests = {"cpu": self.cpu, "memory": self.memory, "ephemeral-storage": self.ephemeral}
        limits = {**requests, "cpu": self.cpu_limit}
        return {
            "spec": {
                "containers": [
                    base_container(resources={"requests": _said(requests), "limits": _said(limits)})
                ]
            }
        }


def _said(values: dict[str, str | float | None]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}
