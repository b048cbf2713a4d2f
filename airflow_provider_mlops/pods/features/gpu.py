"""GPUs by model name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.pods.catalogue import (
    accelerator_models,
    accelerator_nodes,
    accelerator_tolerations,
)
from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.features.feature import Feature, Target, base_container
from airflow_provider_mlops.pods.selection import require

RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True)
class GPU(Feature):
    """NVIDIA GPUs for the main container, on nodes that have the model, past the taint that guards them.

    :param model: as in the catalogue, e.g. ``"L4"``, ``"A100"``, ``"H100"``; None takes any.
    :param count: how many. Kubernetes sets the request equal to the limit.
    :raises AcceleratorUnknown: no such model; for a platform that lacks it, when the recipe is composed.
    """

    model: str | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise RecipeInvalid(
                f"GPU count is {self.count!r}", next_step="Ask for a whole number of GPUs, from 1."
            )
        if self.model is not None and self.model not in accelerator_models():
            accelerator_nodes(self.model, "gfd")

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        spec: dict[str, Any] = {
            "tolerations": [
                {"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"},
                *accelerator_tolerations(target.platform),
            ],
            "containers": [base_container(resources={"limits": {RESOURCE: str(self.count)}})],
        }
        if self.model is not None:
            label, values = accelerator_nodes(self.model, target.platform)
            spec["affinity"] = require(label, "In", values)
        return {"spec": spec}
