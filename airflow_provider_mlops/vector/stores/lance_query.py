"""LanceDB: searches, and filters as SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.filters import WHITE_SPACE, Condition
from airflow_provider_mlops.vector.stores import lance_rules
from airflow_provider_mlops.vector.stores.base import Hit, Scalar
from airflow_provider_mlops.vector.stores.lance_rows import is_vector, quoted, to_hit, vector_column

if TYPE_CHECKING:
    import numpy as np

_QUERIES_PER_SCAN = 100


def nearest(
    table: Any, vectors: np.ndarray, k: int, *, name: str | None, metric: str, condition: str | None
) -> list[list[Hit]]:
    """The nearest rows of each query, of those for which the condition holds."""
    answers: list[list[Hit]] = [[] for _ in vectors]
    columns = [*_columns(table), "_distance"]
    few = condition is not None and table.count_rows(condition) < lance_rules.ROWS_TO_INDEX
    for start in range(0, len(vectors), _QUERIES_PER_SCAN):
        part = vectors[start : start + _QUERIES_PER_SCAN]
        query = table.search(part, vector_column_name=vector_column(name)).distance_type(metric)
        if condition:
            # An approximate index looks into some of its cells only, and the rows that are wanted may lie in others.
            # So few as would have no such index of their own are all compared; for more, it goes on until it has
            # found k.
            query = query.where(condition, prefilter=True)
            query = query.bypass_vector_index() if few else query.maximum_nprobes(0)
        for row in sorted(query.select(columns).limit(k).to_list(), key=lambda row: row["_distance"]):
            # LanceDB numbers the queries only where there are several.
            answers[start + row.pop("query_index", 0)].append(to_hit(row))
    return answers


def best(table: Any, text: str, k: int, *, condition: str | None) -> list[Hit]:
    """The best rows by BM25, of those for which the condition holds."""
    from lancedb.query import MatchQuery

    # As a mere text, LanceDB would take one in quotes for a phrase, and fail.
    words: Callable[..., Any] = MatchQuery
    query = table.search(words(text, "text"), query_type="fts")
    if condition:
        query = query.where(condition, prefilter=True)
    return [to_hit(row) for row in query.select([*_columns(table), "_score"]).limit(k).to_list()]


def _columns(table: Any) -> list[str]:
    return [field.name for field in table.schema if not is_vector(field)]


def sql(where: Sequence[Condition]) -> str | None:
    """The condition of a search, or ``None`` without any.

    Names and types were checked; texts are quoted so that they end nowhere early.
    """
    return " AND ".join(f"({_one(condition)})" for condition in where) or None


def _one(condition: Condition) -> str:
    # Without backticks a name with a capital letter is looked for in small letters.
    column = f"`{condition.name}`"
    if condition.value is None:
        return _missing(condition) if condition.operator == "=" else f"NOT ({_missing(condition)})"
    value = condition.value
    compared = f"btrim({column}, {quoted(WHITE_SPACE)})" if condition.kind == "keyword" else column
    if condition.operator == "in":
        return f"{compared} IN ({', '.join(map(_literal, value))})"
    comparison = f"{compared} {condition.operator} {_literal(value)}"
    if condition.kind == "keyword" and condition.operator in ("!=", "<", "<="):
        # An empty text is no value, and would be smaller than, and different from, any.
        return f"{comparison} AND {column} != ''"
    return comparison


def _missing(condition: Condition) -> str:
    empty = f" OR `{condition.name}` = ''" if condition.kind in ("keyword", "text") else ""
    return f"`{condition.name}` IS NULL{empty}"


def _literal(value: Scalar) -> str:
    if isinstance(value, str):
        return quoted(value)
    return repr(value).lower() if isinstance(value, bool) else repr(value)
