"""How rows become requests to Weaviate."""

from __future__ import annotations

import numpy as np

from airflow_provider_mlops.vector.stores.weaviate_batch import (
    BYTES_PER_REQUEST,
    OBJECTS_PER_REQUEST,
    _requests,
)
from tests.unit.vector.store_contract import row


def test_requests_are_bounded_in_objects_and_bytes_and_hold_every_row_once() -> None:
    rows = [row(number) for number in range(600)]
    long = [row(600 + number)._replace(text="x" * 100_000) for number in range(20)]
    huge = row(700)._replace(text="x" * BYTES_PER_REQUEST)
    parts = list(_requests([*rows, *long, huge]))
    assert [chunk.id for part in parts for chunk in part] == [chunk.id for chunk in [*rows, *long, huge]]
    assert max(map(len, parts)) == OBJECTS_PER_REQUEST
    assert [huge] in parts
    assert all(
        len(part) == 1 or 4 * sum(len(chunk.text) for chunk in part) <= BYTES_PER_REQUEST for part in parts
    )


def test_rows_with_and_without_vectors_go_apart() -> None:
    bare = [row(number)._replace(vector=np.empty(0, np.float32)) for number in range(0, 10, 2)]
    parts = list(_requests([chunk for number in range(5) for chunk in (bare[number], row(100 + number))]))
    assert [{bool(chunk.vector.size) for chunk in part} for part in parts] == [{True}, {False}]
