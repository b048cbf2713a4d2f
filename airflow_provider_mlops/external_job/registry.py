"""From a kind to the adapter class that implements it.

Trigger rows hold the kind, never a class path, so a class can move without stranding waiting tasks.
Imports are lazy: a triggerer loads only the stations it watches.
"""

from __future__ import annotations

import importlib
import json
from typing import Any, cast

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job.adapter import JobAdapter
from airflow_provider_mlops.external_job.errors import AdapterUnknown

_HOMES: dict[str, str] = {
    "gitlab.merge_request": "airflow_provider_mlops.gitlab.merge_request:MergeRequestAdapter",
    "gitlab.pipeline": "airflow_provider_mlops.gitlab.pipeline:PipelineAdapter",
}


def register(kind: str, home: str) -> None:
    """Make an adapter of one's own known.

    Call it where the operator is defined. The trigger row carries ``home``, so a triggerer that has not
    imported the operator finds the class too; it must be importable there.

    :param kind: stable name, such as ``"acme.render"``.
    :param home: ``"package.module:ClassName"``.
    :raises ValueError: the kind is taken by another class, or ``home`` is malformed.
    """
    module, _, name = home.partition(":")
    if not module or not name:
        raise ValueError(f"{home!r} is not of the form 'package.module:ClassName'")
    if _HOMES.setdefault(kind, home) != home:
        raise ValueError(f"kind {kind!r} is already registered as {_HOMES[kind]!r}")


def home_of(kind: str) -> str:
    """``"package.module:ClassName"`` of a kind.

    :raises AdapterUnknown: it is not registered.
    """
    try:
        return _HOMES[kind]
    except KeyError:
        known = ", ".join(sorted(_HOMES))
        raise AdapterUnknown(
            f"No external-job adapter of kind {kind!r} (known: {known})", kind=kind
        ) from None


def adapter_class(kind: str) -> type[JobAdapter]:
    """The class of a kind, imported now.

    :raises AdapterUnknown: not registered, or its module cannot be imported.
    """
    module, _, name = home_of(kind).partition(":")
    try:
        return cast("type[JobAdapter]", getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise AdapterUnknown(
            f"The adapter of kind {kind!r} cannot be imported: {error}", kind=kind
        ) from error


def foreign_home(kind: str) -> str | None:
    """Home of a kind that other processes may not know; ``None`` for those of this package."""
    home = home_of(kind)
    return None if home.startswith("airflow_provider_mlops.") else home


def rebuild(kind: str, data: dict[str, Any], home: str | None = None) -> JobAdapter:
    """The adapter that :meth:`JobAdapter.to_json` described.

    :param home: where to find the class if the kind is not registered in this process.
    """
    if home is not None and kind not in _HOMES:
        register(kind, home)
    return adapter_class(kind).from_json(data)


def check(adapter: JobAdapter) -> None:
    """Find out before any effect that the adapter can cross to a triggerer.

    :raises InvalidArgument: it cannot.
    """
    data = adapter.to_json()
    try:
        copy = json.loads(json.dumps(data))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{adapter.kind}: its arguments are not JSON: {error}") from error
    if rebuild(adapter.kind, copy).to_json() != data:
        raise InvalidArgument(f"{adapter.kind}: its arguments change when they are stored as JSON")
