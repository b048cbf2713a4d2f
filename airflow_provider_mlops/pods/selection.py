"""Node affinity fragments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def expression(label: str, operator: str, values: Sequence[str]) -> dict[str, Any]:
    """One condition on a node label."""
    return {"key": label, "operator": operator, "values": list(values)}


def require(label: str, operator: str, values: Sequence[str]) -> dict[str, Any]:
    """An affinity that only nodes with this label satisfy."""
    return require_all_of([expression(label, operator, values)])


def require_all_of(expressions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An affinity that only nodes satisfying every condition satisfy."""
    return _required([{"matchExpressions": list(expressions)}])


def require_one_of(expressions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An affinity that nodes satisfying one of the conditions satisfy."""
    return _required([{"matchExpressions": [each]} for each in expressions])


def _required(terms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def prefer_each_of(expressions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """An affinity that ranks nodes first which satisfy any of the conditions, and takes others too."""
    preferred = [{"weight": 100, "preference": {"matchExpressions": [each]}} for each in expressions]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
