"""Anything else that Kubernetes knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlops.pods.features.feature import Feature, Target
from airflow_provider_mlops.pods.merge import take_apart


@dataclass(frozen=True)
class Fragment(Feature):
    """A piece of a pod as in Kubernetes YAML, merged by key like any feature.

    The main container is called ``base``. :data:`UNSET` as a value takes a field away, ``"$patch": "delete"``
    in an item of a list the item.

    :param pod: e.g. ``{"spec": {"serviceAccountName": "trainer"}}``; the names are those of the API
        (``nodeSelector``, not ``node_selector``).
    :param name: how :meth:`PodRecipe.explain` and conflicts call it; else they quote the fragment.
    """

    pod: Mapping[str, Any] = field(hash=False)
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pod", deepcopy(dict(self.pod)))
        if not self.name:
            object.__setattr__(self, "name", json.dumps(self.pod, sort_keys=True, default=repr))
        take_apart(self.pod, str(self))

    def __str__(self) -> str:
        return f"Fragment({self.name})"

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        return deepcopy(dict(self.pod))
