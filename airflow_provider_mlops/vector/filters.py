"""Filters on an index's properties: one form for all stores, checked before any store is asked. Pure decisions.

A filter is a mapping of property names to what must hold of them, all at once::

    {"section": "guide", "year": {">=": 2020}, "topic": {"in": ["a", "b"]}, "old": None}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.stores.base import Scalar

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in"]

#: What can be asked of each type of property, beside ``None``. A ``text`` is cut into words by the stores, so that
#: "docs/a" would equal "Docs A!".
_OPERATORS: dict[str, tuple[Operator, ...]] = {
    "text": (),
    "keyword": ("=", "!=", "<", "<=", ">", ">=", "in"),
    "int": ("=", "!=", "<", "<=", ">", ">=", "in"),
    "number": ("=", "!=", "<", "<=", ">", ">=", "in"),
    "bool": ("=", "!="),
}
#: Ends of a keyword that do not count: Weaviate leaves them out, so nobody can ask for them.
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
# Weaviate keeps whole numbers as floating point numbers.
_LARGEST_INT = 2**53


class Condition(NamedTuple):
    """One thing that must hold.

    :param name: of the property.
    :param kind: its declared type.
    :param operator: ``=`` and ``!=`` with ``None`` ask for chunks without, and with, a value; every other one holds
        only of chunks that have a value.
    :param value: a list for ``in``; of the property's Python type otherwise.
    """

    name: str
    kind: str
    operator: Operator
    value: Any


def parse(
    filters: Mapping[str, Any] | None, properties: Mapping[str, str], index: str
) -> tuple[Condition, ...]:
    """What a filter asks, in the order in which it says so.

    :param filters: name to a value, to ``None`` (no value), or to a mapping of operators (``=``, ``!=``, ``<``, ``<=``,
        ``>``, ``>=``, ``in``) to values. ``doc`` is the document's key.
    :param properties: name to type, as declared.
    :param index: name of the index, for messages.
    :raises InvalidArgument: an unknown property or operator, a value of another type, or one that the stores cannot
        tell apart from others.
    """
    if filters is None:
        return ()
    if not isinstance(cast("object", filters), Mapping):
        raise InvalidArgument(f"Index {index!r}: filters is a {type(filters).__name__}, not a mapping")
    kinds = {**properties, "doc": "keyword"}
    found = []
    for name, asked in filters.items():
        if name not in kinds:
            raise InvalidArgument(
                f"Index {index!r}: filter on {name!r}, which is no property of it",
                next_step=f"Use one of {', '.join(sorted(kinds))}.",
            )
        pairs = asked if isinstance(asked, Mapping) else {"=": asked}
        if not pairs:
            raise InvalidArgument(f"Index {index!r}: filter on {name!r} says nothing")
        for operator, value in pairs.items():
            try:
                found.append(_condition(name, kinds[name], operator, value))
            except ValueError as error:
                raise InvalidArgument(f"Index {index!r}: filter on {name!r}: {error}") from error
    return tuple(found)


def _condition(name: str, kind: str, operator: Any, value: Any) -> Condition:
    if value is None and operator in ("=", "!="):
        return Condition(name, kind, operator, None)
    allowed = _OPERATORS[kind]
    if operator not in allowed:
        ways = (
            f"there are {', '.join(allowed)}" if allowed else "only None, {'=': None} and {'!=': None} work"
        )
        raise ValueError(f"{operator!r} is not possible with {kind}; {ways}")
    checked: Any
    if operator == "in":
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence) or not value:
            raise ValueError("'in' needs a list that is not empty")
        checked = [_value(kind, item) for item in value]
    else:
        checked = _value(kind, value)
    return Condition(name, kind, cast("Operator", operator), checked)


def _value(kind: str, value: Any) -> Scalar:
    if kind == "keyword":
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a text")
        return _keyword(value)
    if kind == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not true or false")
        return value
    # bool is an int in Python, but not in a store.
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else int | float):
        raise ValueError(f"{value!r} is no {kind}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} is no number to compare with")
        return value
    if abs(value) > _LARGEST_INT:
        raise ValueError(f"{value} is beyond {_LARGEST_INT}, where stores do not tell neighbours apart")
    return int(value) if kind == "int" else float(value)


def _keyword(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it is not valid Unicode: {error.reason} at {error.start}") from error
    if "\0" in value:
        raise ValueError("a text with a zero byte cannot be compared")
    if not value:
        raise ValueError("an empty text counts as no value; ask for None")
    if value != value.strip(WHITE_SPACE):
        raise ValueError(f"{value!r} has white space at an end, which stores leave out")
    return value
