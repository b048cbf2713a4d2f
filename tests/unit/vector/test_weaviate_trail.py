"""Which rows are sent once more to end a write."""

from __future__ import annotations

import numpy as np

from airflow_provider_mlops.vector.stores.base import Row
from airflow_provider_mlops.vector.stores.weaviate_trail import Trail


def rows(*ids: str, text: str = "t") -> list[Row]:
    return [Row(chunk, "doc", 0, "digest", text, {}, np.ones(2, np.float32)) for chunk in ids]


def numbered(first: int, end: int) -> list[Row]:
    return rows(*(f"id{number}" for number in range(first, end)))


def test_the_last_rows_of_several_writes_are_taken_once() -> None:
    trail = Trail()
    trail.note(numbered(0, 100))
    trail.note(numbered(100, 103))
    assert [row.id for row in trail.take(1)] == [f"id{number}" for number in range(87, 103)]
    assert trail.take(1) == []


def test_more_shards_take_more_rows() -> None:
    trail = Trail()
    trail.note(numbered(0, 100))
    assert len(trail.take(3)) == 48


def test_a_row_written_twice_is_sent_as_it_was_written_last() -> None:
    trail = Trail()
    trail.note(rows("a", text="moved"))
    trail.note(rows("a", text="as it was"))
    assert [row.text for row in trail.take(1)] == ["as it was"]


def test_every_tenant_is_a_shard() -> None:
    trail = Trail()
    trail.note(rows("acme/a", "acme/b", "zeta/c"))
    trail.note(rows("other/d"))
    assert [row.id for row in trail.take(1)] == ["acme/b", "zeta/c", "other/d"]


def test_deleted_rows_do_not_come_back() -> None:
    trail = Trail()
    trail.note(numbered(0, 3))
    trail.note(rows("acme/a", "zeta/b"))
    trail.forget({"id1", "zeta/b"})
    assert [row.id for row in trail.take(1)] == ["id0", "id2", "acme/a"]
