"""Rows on their way into a LanceDB table: few commits, nothing before its commit, nothing half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.vector.stores.base import Layout, Row
from airflow_provider_mlops.vector.stores.lance_rows import arrow_schema

lancedb = pytest.importorskip("lancedb")

from airflow_provider_mlops.vector.stores.lance_writer import LanceWriter  # noqa: E402

LAYOUT = Layout(4, "cosine", {"year": "int"}, False)


def row(number: int, text: str = "text") -> Row:
    vector = np.full(4, number + 1, np.float32)
    return Row(f"id{number:05}", f"doc{number}", 0, "d", text, {"year": None}, vector)


def rows(first: int, count: int) -> list[Row]:
    return [row(number) for number in range(first, first + count)]


@pytest.fixture
def table(tmp_path: Path) -> Any:
    return lancedb.connect(tmp_path).create_table("T", schema=arrow_schema(LAYOUT, "00000000"))


def test_many_appends_are_one_commit_that_readers_see_as_a_whole(table: Any, tmp_path: Path) -> None:
    writer, before = LanceWriter(table), table.version
    for start in range(0, 9000, 700):
        writer.append(rows(start, 700))
        assert lancedb.connect(tmp_path).open_table("T").count_rows() == 0
    writer.flush()
    writer.flush()
    assert (table.count_rows(), table.version) == (9100, before + 1)
    assert table.search().where("id = 'id08765'").to_list()[0]["vector"] == [8766.0] * 4


def test_changed_rows_replace_those_that_are_there_and_the_last_state_of_a_row_counts(table: Any) -> None:
    writer = LanceWriter(table)
    writer.append(rows(0, 10))
    writer.flush()
    before = table.version
    writer.merge([row(3, "older"), row(20, "new")])
    writer.merge([row(3, "newer")])
    writer.append([row(30)])
    writer.flush()
    assert (table.count_rows(), table.version) == (12, before + 2)
    texts = {found["id"]: found["text"] for found in table.search().limit(20).to_list()}
    assert (texts["id00003"], texts["id00020"]) == ("newer", "new")


def test_many_changed_rows_do_not_wait_for_the_end(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlops.vector.stores.lance_writer._MERGE_BYTES", 100)
    writer = LanceWriter(table)
    writer.merge(rows(0, 10))
    assert table.count_rows() == 10


def test_abandoned_rows_are_not_committed_and_the_table_can_be_written_on(table: Any) -> None:
    writer, before = LanceWriter(table), table.version
    for start in range(0, 6000, 1000):
        writer.append(rows(start, 1000))
    writer.merge([row(7000)])
    writer.abandon()
    writer.abandon()
    writer.flush()
    assert (table.count_rows(), table.version) == (0, before)
    writer.append(rows(0, 5))
    writer.flush()
    assert table.count_rows() == 5


def test_failure_of_a_commit_is_raised_to_who_waits_for_it(table: Any) -> None:
    writer = LanceWriter(table)
    with pytest.raises((RuntimeError, OSError, ValueError)):  # noqa: PT012 - whichever call meets it first
        writer.append(rows(0, 1000))
        writer.append([row(1)._replace(id=None)])  # type: ignore[arg-type]
        writer.flush()
    assert table.count_rows() == 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux can bind a process to one core")
def test_one_core_is_enough_to_read_while_a_commit_waits_for_rows(tmp_path: Path) -> None:
    code = f"""
import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
import lancedb
from airflow_provider_mlops.vector.stores.lance_rows import arrow_schema
from airflow_provider_mlops.vector.stores.lance_writer import LanceWriter
from tests.unit.vector.test_lance_writer import LAYOUT, rows
database = lancedb.connect({str(tmp_path)!r})
writer = LanceWriter(database.create_table("T", schema=arrow_schema(LAYOUT, "00000000")))
writer.append(rows(0, 3000))
for number in range(20):
    assert database.open_table("T").search().limit(5).to_list() == []
writer.append(rows(3000, 3000))
writer.flush()
print(database.open_table("T").count_rows())
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["6000"], done.stderr
