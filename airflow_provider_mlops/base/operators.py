"""Base of every operator: flat payloads handed on key by key, and permanent errors that end the retries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from airflow_provider_mlops.compat import BaseOperator, Context, without_retries
from airflow_provider_mlops.errors import InvalidArgument, PermanentError

P = ParamSpec("P")
R = TypeVar("R")


def at_boundary(method: Callable[P, R]) -> Callable[P, R]:
    """Decorator for the methods that Airflow calls: a :class:`PermanentError` ends the retries, keeping its type."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except PermanentError as error:
            raise without_retries(error) from error.__cause__

    return guarded


class MlopsOperator(BaseOperator):
    """Base of this package's operators.

    ``multiple_outputs`` is on by default, so ``build.output["uri"]`` works on a classic operator. Every
    subclass's ``execute`` is guarded by :func:`at_boundary`.

    :param multiple_outputs: push every key of the returned payload as an XCom of its own.
    """

    def __init__(self, *, multiple_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if "execute" in cls.__dict__:
            cls.execute = at_boundary(cls.__dict__["execute"])  # type: ignore[method-assign]
        super().__init_subclass__(**kwargs)


def run_moment(context: Context) -> datetime:
    """The moment that a DAG run stands for, the same for all its tasks and retries, with its time zone.

    ``run_after`` where there is one (Airflow 3), since API-triggered runs have no logical date; Airflow
    2.11 has the end of the data interval, and the logical date of manual runs.
    """
    run: Any = context["dag_run"]
    moment: datetime = getattr(run, "run_after", None) or run.data_interval_end or run.logical_date
    return moment


def product_field(value: Any, key: str, *, argument: str) -> Any:
    """One field of another operator's product: ``value`` may be the bare field or the whole ``.output``.

    :param value: what the DAG author passed, after rendering.
    :param key: the field that is needed when a whole payload was passed.
    :param argument: name of the operator argument, for the message.
    :raises InvalidArgument: a payload without that field, or nothing at all.
    """
    if isinstance(value, Mapping):
        if key not in value:
            raise InvalidArgument(
                f"{argument}: the payload of kind {value.get('kind')!r} has no {key!r}",
                next_step=f"Pass the output of an operator that returns {key!r}, or the value itself.",
            )
        value = value[key]
    if value is None or value == "":
        raise InvalidArgument(f"{argument} is empty", next_step=f"Check the task that produces {key!r}.")
    return value
