"""Weaviate: filters as the client's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument, RemoteUnavailable
from airflow_provider_mlops.vector.filters import Condition


def client_filter(where: Sequence[Condition]) -> Any:
    """The condition of a query, or ``None`` without any."""
    from weaviate.classes.query import Filter

    return Filter.all_of([_one(condition) for condition in where]) if where else None


def _one(condition: Condition) -> Any:
    from weaviate.classes.query import Filter

    prop = Filter.by_property(condition.name)
    value = condition.value
    if value is None:
        return prop.is_none(condition.operator == "=")
    match condition.operator:
        case "=":
            return prop.equal(value)
        case "!=":
            # To the server, objects without a value are different from every value, and an empty text is below all.
            return Filter.all_of([prop.not_equal(value), prop.is_none(False)])
        case "<":
            return Filter.all_of([prop.less_than(value), prop.is_none(False)])
        case "<=":
            return Filter.all_of([prop.less_or_equal(value), prop.is_none(False)])
        case ">":
            return prop.greater_than(value)
        case ">=":
            return prop.greater_or_equal(value)
        case "in":
            return prop.contains_any(value)


@contextmanager
def refused_filter(where: Sequence[Condition]) -> Iterator[None]:
    """Tell what the server cannot filter by from a server that is in trouble.

    :raises InvalidArgument: the collection has no such property, or was made without an index of missing values.
    """
    try:
        yield
    except RemoteUnavailable as error:
        if where and ("no such prop" in error.message or "Nullstate must be indexed" in error.message):
            raise InvalidArgument(error.message, next_step="Filter by what this version has.") from error
        raise
