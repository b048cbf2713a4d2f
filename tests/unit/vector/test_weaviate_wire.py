"""How rows become requests to Weaviate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weaviate.proto.v1 import base_pb2, batch_pb2

from airflow_provider_mlops.vector.ids import address, placed
from airflow_provider_mlops.vector.stores.base import Row
from airflow_provider_mlops.vector.stores.weaviate_wire import RowEncoder, requests
from tests.unit.vector.store_contract import row

NO_VECTOR = np.empty(0, np.float32)
# Around the lengths that take one more byte to write.
LENGTHS = [0, 1, 100, 110, 120, *range(123, 130), 16_300, *range(16_380, 16_386), 2_097_151, 2_097_152]
WORDS = st.text(max_size=200)
VECTORS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40).map(
    lambda values: np.array(values, np.float32)
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | WORDS
ROWS = st.builds(
    Row,
    id=st.builds(address, st.none() | st.from_regex("[A-Za-z0-9_-]{1,64}", fullmatch=True), st.uuids().map(str)),
    doc=WORDS,
    ordinal=st.integers(0, 2**31),
    digest=WORDS,
    text=WORDS,
    properties=st.dictionaries(st.from_regex("[a-z][a-z0-9_]{0,200}", fullmatch=True), SCALARS, max_size=5),
    vector=VECTORS | st.just(NO_VECTOR),
    more=st.dictionaries(st.from_regex("[a-z]{1,20}", fullmatch=True), VECTORS, max_size=2),
)  # fmt: skip


def made_by_protobuf(rows: Sequence[Row]) -> Any:
    """The same request out of the client's own classes."""
    request = batch_pb2.BatchObjectsRequest()
    for chunk in rows:
        tenant, uuid = placed(chunk.id)
        item = request.objects.add(collection="Notes_v1", uuid=uuid, tenant=tenant or "")
        fixed = {"doc": chunk.doc, "ordinal": chunk.ordinal, "digest": chunk.digest, "text": chunk.text}
        for name, value in {**fixed, **chunk.properties}.items():
            if value is not None:
                kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
                setattr(item.properties.non_ref_properties.fields[name], kind, value)
        vectors = {"main": chunk.vector, **chunk.more}
        for name, vector in vectors.items():
            if vector.size:
                item.vectors.add(
                    name=name, vector_bytes=vector.tobytes(), type=base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
                )
    return request


def read_back(rows: Sequence[Row]) -> Any:
    encode = RowEncoder("Notes_v1", "main")
    return batch_pb2.BatchObjectsRequest.FromString(b"".join(map(encode, rows)))


@given(st.lists(ROWS, max_size=3))
def test_the_clients_own_classes_read_what_was_written(rows: list[Row]) -> None:
    assert read_back(rows) == made_by_protobuf(rows)


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_of_every_size(length: int) -> None:
    chunk = row(0)._replace(
        text="x" * length,
        properties={"note": "\N{SNOWMAN}" * (length // 3)},
        vector=np.arange(1, length // 4 + 2, dtype=np.float32),
    )
    assert read_back([chunk, row(1)]) == made_by_protobuf([chunk, row(1)])


@pytest.mark.parametrize("kind", [">f4", "<f8", "<f2"])
def test_vectors_of_another_kind_are_sent_as_32_bit_floats(kind: str) -> None:
    chunk = row(0)
    assert read_back([chunk._replace(vector=chunk.vector.astype(kind))]) == made_by_protobuf(
        [chunk._replace(vector=chunk.vector.astype(kind).astype("<f4"))]
    )


def size(chunk: Row) -> int:
    return len(RowEncoder("Notes_v1", "main")(chunk))


def test_requests_are_bounded_in_objects_and_bytes_and_hold_every_row_once() -> None:
    rows = [row(number) for number in range(600)]
    long = [row(600 + number)._replace(text="x" * 100_000) for number in range(20)]
    huge = row(700)._replace(text="x" * 2_000_000)
    every = [*rows, *long, huge, row(701)]
    found = list(requests(every, RowEncoder("Notes_v1", "main"), 250, 500_000))
    assert [chunk.id for part, _ in found for chunk in part] == [chunk.id for chunk in every]
    for part, request in found:
        objects = batch_pb2.BatchObjectsRequest.FromString(request).objects
        assert [item.uuid for item in objects] == [chunk.id for chunk in part]
    assert max(len(part) for part, _ in found) == 250
    assert [huge] in [part for part, _ in found]
    assert all(len(request) <= 500_000 for part, request in found if part != [huge])


def test_a_request_is_filled_to_the_last_byte() -> None:
    pair = [row(0), row(1)]
    limit = sum(map(size, pair))
    encode = RowEncoder("Notes_v1", "main")
    assert [len(part) for part, _ in requests(pair, encode, 250, limit)] == [2]
    assert [len(part) for part, _ in requests(pair, encode, 250, limit - 1)] == [1, 1]
    assert [len(part) for part, _ in requests([*pair, row(2)], encode, 2, 10 * limit)] == [2, 1]


def test_rows_with_and_without_vectors_go_apart() -> None:
    bare = [row(number)._replace(vector=NO_VECTOR) for number in range(0, 10, 2)]
    mixed = [chunk for number in range(5) for chunk in (bare[number], row(100 + number))]
    found = [part for part, _ in requests(mixed, RowEncoder("Notes_v1", "main"), 250, 2_000_000)]
    assert [{bool(chunk.vector.size) for chunk in part} for part in found] == [{True}, {False}]
