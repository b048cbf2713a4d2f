"""How accelerators and spot nodes are called on each platform; the data is in ``catalogue.json``."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from airflow_provider_mlops.pods.errors import AcceleratorUnknown, RecipeInvalid

#: Where a pod runs. ``gfd`` is any cluster whose GPU nodes are labelled by NVIDIA's feature discovery.
Platform = Literal["gfd", "karpenter", "eks", "gke", "aks"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)


@dataclass(frozen=True)
class SpotNodes:
    """How a platform marks spot nodes.

    :param label: the node label; :param value: its value on spot nodes; :param on_demand: its value on
        the others, None where those do not have it.
    :param taint: effect of the taint of the same key and value, None without one.
    :param grace: seconds between the notice and the end that a pod can count on.
    """

    label: str
    value: str
    on_demand: str | None
    taint: str | None
    grace: int


@functools.cache
def _data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = json.loads(Path(__file__).with_name("catalogue.json").read_text("utf-8"))
    return data


def check_platform(platform: str) -> None:
    """:raises RecipeInvalid: there is no such platform."""
    if platform not in PLATFORMS:
        raise RecipeInvalid(f"platform is {platform!r}", next_step=f"Known are {', '.join(PLATFORMS)}.")


def accelerator_models() -> list[str]:
    """The models that :class:`~airflow_provider_mlops.pods.GPU` knows."""
    return sorted(_data()["accelerators"])


def accelerator_nodes(model: str, platform: Platform) -> tuple[str, list[str]]:
    """Node label, and its values on nodes that have this accelerator.

    :raises AcceleratorUnknown: no such model, or not on this platform.
    """
    known = _data()["accelerators"]
    if model not in known:
        near = difflib.get_close_matches(model.upper(), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AcceleratorUnknown(
            f"GPU model {model!r} is not in the catalogue ({', '.join(accelerator_models())}){hint}"
        )
    if platform not in known[model]:
        where = ", ".join(known[model])
        raise AcceleratorUnknown(
            f"GPU model {model!r} is not in the catalogue for {platform}, only for {where}"
        )
    return _data()["platforms"][platform]["accelerator_label"], known[model][platform]


def accelerator_tolerations(platform: Platform) -> list[dict[str, str]]:
    """Tolerations that GPU nodes of the platform need beyond the usual one."""
    return [dict(toleration) for toleration in _data()["platforms"][platform]["accelerator_tolerations"]]


def spot_nodes(platform: Platform) -> list[SpotNodes]:
    """How spot nodes are marked: of the platform, or of all where it is ``gfd`` and can be any of them."""
    platforms = _data()["platforms"]
    chosen = [platform] if "spot" in platforms[platform] else list(platforms)
    return [SpotNodes(**platforms[name]["spot"]) for name in chosen if "spot" in platforms[name]]
