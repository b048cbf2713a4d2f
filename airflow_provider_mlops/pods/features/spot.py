"""Spot nodes, whatever the cloud calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from airflow_provider_mlops.pods.catalogue import SpotNodes, spot_nodes
from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.features.feature import Feature, Target
from airflow_provider_mlops.pods.selection import expression, prefer_each_of, require_all_of, require_one_of

Fallback = Literal["last-try", "any", "never"]


@dataclass(frozen=True)
class Spot(Feature):
    """Cheap nodes that may be taken away; give the task retries, and a :class:`Checkpoint` to resume from.

    :param fallback: ``"last-try"`` takes an on-demand node when no retry is left. A field that Airflow renders
        can say so on ``karpenter`` and ``eks``, whose on-demand nodes carry the label too; elsewhere, and in
        pods of the KubernetesExecutor, the last try is not known beforehand and it works as ``"any"``:
        spot nodes first, others rather than waiting. ``"never"`` waits for a spot node.
    :param grace: seconds from SIGTERM to SIGKILL; None takes what the notice of the platform leaves room for
        (110 on AWS, else 25).
    """

    fallback: Fallback = "last-try"
    grace: int | None = None

    def __post_init__(self) -> None:
        if self.fallback not in get_args(Fallback):
            known = ", ".join(get_args(Fallback))
            raise RecipeInvalid(f"Spot fallback is {self.fallback!r}", next_step=f"Known are {known}.")
        if self.grace is not None and self.grace < 1:
            raise RecipeInvalid(f"Spot grace is {self.grace!r}", next_step="Give seconds, from 1.")

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        nodes = spot_nodes(target.platform)
        spec: dict[str, Any] = {
            "terminationGracePeriodSeconds": self.grace or min(each.grace for each in nodes),
            **self._selection(nodes, target),
        }
        tainted = [each for each in nodes if each.taint]
        if tainted:
            spec["tolerations"] = [
                {"key": each.label, "operator": "Equal", "value": each.value, "effect": each.taint}
                for each in tainted
            ]
        return {"spec": spec}

    def _selection(self, nodes: list[SpotNodes], target: Target) -> dict[str, Any]:
        spot = [expression(each.label, "In", [each.value]) for each in nodes]
        if self.fallback == "never":
            return {"affinity": require_one_of(spot)}
        if self.fallback == "last-try" and target.last_try is not None:
            if target.last_try:
                return {"affinity": require_all_of([{**each, "operator": "NotIn"} for each in spot])}
            return {"affinity": require_one_of(spot)}
        if self.fallback == "last-try" and target.templated and len(nodes) == 1 and nodes[0].on_demand:
            only = nodes[0]
            choice = f"{{{{ '{only.on_demand}' if ti.try_number > ti.max_tries else '{only.value}' }}}}"
            return {"nodeSelector": {only.label: choice}}
        return {"affinity": prefer_each_of(spot)}
