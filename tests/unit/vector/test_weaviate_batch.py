"""Requests on their way to Weaviate: how many at a time, and what becomes of their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc
import pytest
from weaviate.exceptions import WeaviateBatchError

from airflow_provider_mlops.vector.stores.base import Row, Written
from airflow_provider_mlops.vector.stores.weaviate_batch import (
    IN_FLIGHT,
    OBJECTS_PER_REQUEST,
    VECTOR_NAME,
    _write,
)
from airflow_provider_mlops.vector.stores.weaviate_wire import RowEncoder
from tests.unit.vector.store_contract import row

# Enough for more requests than may be under way.
ROWS = [row(number) for number in range(OBJECTS_PER_REQUEST * (IN_FLIGHT + 3))]


class Failed(grpc.RpcError, grpc.Call):
    """A call that failed, as gRPC raises it."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self._code, self._details = getattr(grpc.StatusCode, code), details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    initial_metadata = trailing_metadata = is_active = time_remaining = cancel = add_callback = None


def write(rows: Sequence[Row], answer: Callable[[Sequence[Row]], dict[int, str]]) -> Written:
    with ThreadPoolExecutor(IN_FLIGHT + 3) as threads:
        return _write(rows, RowEncoder("Notes_v1", VECTOR_NAME), lambda part, _: threads.submit(answer, part))


def fails(code: str, details: str) -> dict[int, str]:
    raise Failed(code, details)


def test_so_many_requests_are_under_way_and_no_more() -> None:
    started: list[Future[dict[int, str]]] = []
    under_way: list[int] = []

    def start(part: Sequence[Row], _: bytes) -> Future[dict[int, str]]:
        under_way.append(1 + sum(not future.done() for future in started))
        future: Future[dict[int, str]] = Waited(lambda: future.set_result({}))
        started.append(future)
        return future

    assert _write(ROWS, RowEncoder("Notes_v1", VECTOR_NAME), start) == Written()
    assert under_way == [*range(1, IN_FLIGHT), IN_FLIGHT, IN_FLIGHT, IN_FLIGHT, IN_FLIGHT]


class Waited(Future[dict[int, str]]):
    """Comes to its end once somebody waits for it."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__()
        self._end = end

    def result(self, timeout: float | None = None) -> dict[int, str]:
        self._end()
        return super().result(timeout)


def test_what_the_server_says_of_single_objects() -> None:
    def answer(part: Sequence[Row]) -> dict[int, str]:
        return {0: "store is read-only", 1: "invalid integer property 'year'"} if part[0] == ROWS[0] else {}

    assert write(ROWS, answer) == Written(
        uncertain=[ROWS[0].id],
        refused={ROWS[1].id: "invalid integer property 'year'"},
        trouble="store is read-only",
    )


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_rows_of_a_request_without_answer_are_uncertain(code: str) -> None:
    lost = ROWS[OBJECTS_PER_REQUEST : 2 * OBJECTS_PER_REQUEST]
    written = write(ROWS, lambda part: fails(code, "gone away") if list(part) == lost else {})
    assert written == Written(uncertain=[each.id for each in lost], trouble="gone away")


def test_a_request_that_is_too_large_is_halved_until_it_fits() -> None:
    sizes: list[int] = []

    def answer(part: Sequence[Row]) -> dict[int, str]:
        sizes.append(len(part))
        if len(part) > 70:
            raise Failed("RESOURCE_EXHAUSTED", "Received message larger than max (1 vs. 0)")
        return {len(part) - 1: "no"}

    written = write(ROWS[:OBJECTS_PER_REQUEST], answer)
    assert sorted(sizes) == sorted([250, 125, 125, 62, 63, 62, 63])
    assert sorted(written.refused) == sorted(ROWS[end].id for end in (61, 124, 186, 249))
    assert not written.uncertain


def test_an_object_that_is_too_large_alone_is_refused() -> None:
    words = "Sent message larger than max (9 vs. 8)"
    assert write(ROWS[:1], lambda part: fails("RESOURCE_EXHAUSTED", words)) == Written(
        refused={ROWS[0].id: words}
    )


def test_a_final_refusal_is_raised_when_nothing_is_under_way_any_more() -> None:
    go_on, ended = Event(), []

    def answer(part: Sequence[Row]) -> dict[int, str]:
        if part[0] == ROWS[0]:
            go_on.set()
            raise Failed("PERMISSION_DENIED", "forbidden")
        go_on.wait()
        ended.append(part[0].id)
        return {}

    started: list[str] = []
    with ThreadPoolExecutor(IN_FLIGHT) as threads:

        def start(part: Sequence[Row], _: bytes) -> Future[dict[int, str]]:
            started.append(part[0].id)
            return threads.submit(answer, part)

        with pytest.raises(WeaviateBatchError, match="forbidden") as caught:
            _write(ROWS, RowEncoder("Notes_v1", VECTOR_NAME), start)
        assert sorted(ended) == sorted(started[1:])
    assert len(started) == IN_FLIGHT
    assert isinstance(caught.value.__cause__, Failed)
