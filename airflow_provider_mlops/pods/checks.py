"""What Kubernetes refuses or misreads in a pod, found before it is asked: names, quantities, requests over limits.

A value with a Jinja expression in it is left to Airflow: it is not known yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from airflow_provider_mlops.pods.errors import RecipeInvalid

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def is_template(value: object) -> bool:
    """Whether Airflow has to render it first."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def quantity(value: object, what: str) -> Decimal:
    """A Kubernetes quantity (``"500m"``, ``"16Gi"``, ``2``) as a number.

    :param what: the name of the field, for the message.
    :raises RecipeInvalid: it is none, or it is negative.
    """
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, (str, int, float)) else None
    if found is None or isinstance(value, bool):
        raise RecipeInvalid(
            f"{what} is {value!r}, not a Kubernetes quantity",
            next_step="Write it like 2, '500m', '16Gi' or '1.5'.",
        )
    number, unit = Decimal(found[1]), found[2] or ""
    if unit in _BINARY:
        number *= Decimal(1024) ** (_BINARY.index(unit) + 1)
    elif unit in _DECIMAL:
        number = number.scaleb(_DECIMAL[unit])
    elif unit:
        number = number.scaleb(int(unit[1:]))
    if number < 0:
        raise RecipeInvalid(f"{what} is {value!r}, less than nothing")
    return number


def dns_label(value: object, what: str) -> None:
    """:raises RecipeInvalid: it is no DNS label (containers, volumes)."""
    _match(
        _LABEL,
        value,
        what,
        "lower-case letters, digits and '-', at most 63, starting and ending with a letter or digit",
    )


def dns_subdomain(value: object, what: str) -> None:
    """:raises RecipeInvalid: it is no DNS subdomain (claims, secrets, service accounts)."""
    _match(_SUBDOMAIN, value, what, "lower-case letters, digits, '-' and '.', at most 253")
    if isinstance(value, str) and len(value) > 253:
        raise RecipeInvalid(f"{what} has {len(value)} characters, more than 253")


def _match(pattern: re.Pattern[str], value: object, what: str, allowed: str) -> None:
    if not is_template(value) and not (isinstance(value, str) and pattern.fullmatch(value)):
        raise RecipeInvalid(f"{what} is {value!r}", next_step=f"Allowed are {allowed}.")


def check(pod: Mapping[str, Any]) -> None:
    """:raises RecipeInvalid: names a field of the pod that Kubernetes would refuse."""
    metadata, spec = _map(pod, "metadata"), _map(pod, "spec")
    for name, value in _map(metadata, "labels").items():
        allowed = "letters, digits, '-', '_' and '.', at most 63; as a string"
        _match(_LABEL_VALUE, value, f"label {name}", allowed)
    for name, value in _map(metadata, "annotations").items():
        if not isinstance(value, str):
            raise RecipeInvalid(f"annotation {name} is {value!r}, not a string")
    for name, value in _map(spec, "nodeSelector").items():
        if not isinstance(value, str):
            raise RecipeInvalid(
                f"nodeSelector {name} is {value!r}, not a string", next_step=f"Write {str(value).lower()!r}."
            )
    for volume in spec.get("volumes", []):
        _check_volume(volume)
    for where, container in _containers(spec):
        _check_container(where, container)
    for secret in spec.get("imagePullSecrets", []):
        dns_subdomain(secret.get("name"), "imagePullSecrets name")


def _map(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name, {})
    if not isinstance(value, Mapping):
        raise RecipeInvalid(f"{name} is {value!r}, not a map")
    return value


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind, []):
            yield f"{kind}[{container['name']}]", container


def _check_volume(volume: Mapping[str, Any]) -> None:
    name = volume["name"]
    dns_label(name, "volume name")
    if len(volume) < 2:
        raise RecipeInvalid(
            f"volume {name} has no source", next_step="Give it emptyDir, persistentVolumeClaim, ..."
        )
    if "persistentVolumeClaim" in volume:
        dns_subdomain(_map(volume, "persistentVolumeClaim").get("claimName"), f"claimName of volume {name}")
    limit = _map(volume, "emptyDir").get("sizeLimit")
    if limit is not None and not is_template(limit):
        quantity(limit, f"sizeLimit of volume {name}")


def _check_container(where: str, container: Mapping[str, Any]) -> None:
    dns_label(container["name"], "container name")
    if not container.get("image"):
        raise RecipeInvalid(f"{where} has no image")
    for variable in container.get("env", []):
        _match(
            _VARIABLE,
            variable["name"],
            f"variable of {where}",
            "letters, digits, '_', '-' and '.', not starting with a digit",
        )
        if "value" in variable and not isinstance(variable["value"], str):
            raise RecipeInvalid(
                f"variable {variable['name']} of {where} is {variable['value']!r}, not a string"
            )
    _check_resources(where, _map(container, "resources"))


def _check_resources(where: str, resources: Mapping[str, Any]) -> None:
    numbers: dict[tuple[str, str], Decimal] = {}
    for kind in ("requests", "limits"):
        for name, value in _map(resources, kind).items():
            if not is_template(value):
                numbers[kind, name] = quantity(value, f"{kind} {name} of {where}")
    for (kind, name), number in numbers.items():
        limit = numbers.get(("limits", name), number)
        if kind == "requests" and number > limit:
            raise RecipeInvalid(f"{where} requests more {name} than its limit: {number} over {limit}")
