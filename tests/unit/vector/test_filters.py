"""What a filter may say, and what is refused before a store is asked."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.filters import Condition, parse
from airflow_provider_mlops.vector.stores.lance_query import sql

PROPERTIES = {
    "title": "text",
    "topic": "keyword",
    "year": "int",
    "score": "number",
    "old": "bool",
    "camelCase": "int",
}


def test_every_part_becomes_a_condition() -> None:
    filters = {
        "topic": "a",
        "year": {">=": 2020, "<": 2022},
        "score": {"in": [1, 2.5]},
        "old": None,
        "doc": "d",
    }
    assert parse(filters, PROPERTIES, "Docs") == (
        Condition("topic", "keyword", "=", "a"),
        Condition("year", "int", ">=", 2020),
        Condition("year", "int", "<", 2022),
        Condition("score", "number", "in", [1.0, 2.5]),
        Condition("old", "bool", "=", None),
        Condition("doc", "keyword", "=", "d"),
    )
    assert parse(None, PROPERTIES, "Docs") == parse({}, PROPERTIES, "Docs") == ()


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"colour": "red"}, "'colour', which is no property"),
        ({"text": "word"}, "'text', which is no property"),
        ({"title": "word"}, "'=' is not possible with text"),
        ({"title": {"in": ["word"]}}, "'in' is not possible with text"),
        ({"topic": {}}, "says nothing"),
        ({"topic": {"like": "a*"}}, "'like' is not possible"),
        ({"topic": {"$ne": "a"}}, "not possible"),
        ({"topic": {7: "a"}}, "7 is not possible"),
        ({"topic": 1}, "1 is not a text"),
        ({"topic": ["a"]}, r"\['a'\] is not a text"),
        ({"topic": ""}, "empty text"),
        ({"topic": " a"}, "white space"),
        ({"topic": "a\0b"}, "zero byte"),
        ({"topic": "\ud800"}, "not valid Unicode"),
        ({"topic": {"in": []}}, "not empty"),
        ({"topic": {"in": "abc"}}, "needs a list"),
        ({"topic": {"in": ["a", None]}}, "None is not a text"),
        ({"topic": {"<": None}}, "None is not a text"),
        ({"year": "2020"}, "'2020' is no int"),
        ({"year": 2020.0}, "no int"),
        ({"year": True}, "no int"),
        ({"year": 2**53 + 1}, "beyond"),
        ({"score": float("nan")}, "no number to compare"),
        ({"score": float("inf")}, "no number to compare"),
        ({"score": False}, "no number"),
        ({"old": 1}, "not true or false"),
        ({"old": {">": False}}, "not possible with bool"),
        ([("topic", "a")], "not a mapping"),
    ],
)  # fmt: skip
def test_impossible_filter_is_refused_by_name(filters: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        parse(filters, PROPERTIES, "Docs")
    assert "'Docs'" in str(caught.value)


def test_a_value_cannot_end_its_quotes() -> None:
    condition = sql(parse({"topic": "x' OR 'a'='a"}, PROPERTIES, "Docs"))
    assert condition is not None
    assert condition.endswith("= 'x'' OR ''a''=''a')")
    assert sql(parse({"camelCase": {"in": [1, 2]}, "old": True}, PROPERTIES, "Docs")) == (
        "(`camelCase` IN (1, 2)) AND (`old` = true)"
    )
    assert sql(()) is None
