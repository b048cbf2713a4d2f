"""From plain dicts to the models of the ``kubernetes`` client, refusing what they do not know.

The client's own loader drops unknown fields, and the API server may too: a misspelt field would mean a pod
that silently runs without it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.pods.errors import RecipeFieldUnknown, RecipeInvalid

if TYPE_CHECKING:
    from kubernetes.client import V1Container as V1Container
    from kubernetes.client import V1Pod as V1Pod

_LIST = re.compile(r"list\[(.+)\]")
_MAP = re.compile(r"dict[\[(]str, (.+)[\])]")
_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}


def to_pod(pod: Mapping[str, Any]) -> V1Pod:
    """:raises RecipeFieldUnknown: a field that pods do not have.
    :raises RecipeInvalid: a value of the wrong type, or a required one that is missing.
    """
    built: V1Pod = _convert(pod, "V1Pod", "")
    return built


def to_container(container: Mapping[str, Any]) -> V1Container:
    """One container; raises as :func:`to_pod`."""
    built: V1Container = _convert(container, "V1Container", f"containers[{container.get('name')}]")
    return built


def _convert(value: Any, kind: str, path: str) -> Any:
    if value is None or kind == "object":
        return value
    found = _LIST.fullmatch(kind)
    if found:
        _expect(value, (list,), "a list", path)
        return [_convert(item, found[1], f"{path}[{_name(item, index)}]") for index, item in enumerate(value)]
    found = _MAP.fullmatch(kind)
    if found:
        _expect(value, (dict,), "a map", path)
        return {name: _convert(item, found[1], f"{path}[{name}]") for name, item in value.items()}
    if kind in _PLAIN:
        _expect(value, _PLAIN[kind], f"of type {kind}", path)
        return value
    from kubernetes import client

    model = getattr(client, kind, None)
    return value if model is None else _build(value, model, path)


def _build(value: Any, model: Any, path: str) -> Any:
    _expect(value, (dict,), "a map", path)
    names = {api: (python, model.openapi_types[python]) for python, api in model.attribute_map.items()}
    fields = {}
    for name, inner in value.items():
        here = f"{path}.{name}".lstrip(".")
        if name not in names:
            raise _unknown(name, here, list(names))
        python, kind = names[name]
        fields[python] = _convert(inner, kind, here)
    try:
        return model(**fields)
    except ValueError as error:
        raise RecipeInvalid(f"{path or 'the pod'}: {error}") from error


def _unknown(name: str, path: str, names: list[str]) -> RecipeFieldUnknown:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return RecipeFieldUnknown(f"{path} is not a field of a pod{hint}", field=path)


def _expect(value: object, types: tuple[type, ...], wanted: str, path: str) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise RecipeInvalid(f"{path or 'the pod'} is {value!r}, not {wanted}", field=path)


def _name(item: Any, index: int) -> object:
    return item.get("name", index) if isinstance(item, dict) else index
