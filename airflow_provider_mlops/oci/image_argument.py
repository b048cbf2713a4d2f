"""The image in what a DAG author hands on: a reference, or another task's whole output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument


def image_reference(value: Any, *, argument: str = "image") -> str:
    """The image reference in ``value``.

    :param value: the reference; the output of an image task; or the output of a task whose key ``image``
        is one of the two, such as a pipeline that publishes an image.
    :param argument: name of the argument, for the message.
    :raises InvalidArgument: there is no image in it.
    """
    inner = _innermost(value)
    if isinstance(inner, Mapping):
        raise InvalidArgument(
            f"{argument}: the payload of kind {inner.get('kind')!r} has no 'image'",
            next_step="Pass an image reference, or the output of a task that publishes an image.",
        )
    if not isinstance(inner, str) or not inner:
        raise InvalidArgument(
            f"{argument} is not an image reference but {inner!r}",
            next_step="Check the task that publishes the image.",
        )
    return inner


def is_runnable(value: Any) -> bool:
    """Whether the image can be run; an image of which nothing is said is taken for an ordinary one."""
    while isinstance(value, Mapping):
        if "runnable" in value:
            return bool(value["runnable"])
        value = value.get("image")
    return True


def _innermost(value: Any) -> Any:
    while isinstance(value, Mapping) and "image" in value:
        value = value["image"]
    return value
