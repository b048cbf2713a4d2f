"""Sources: what they give, and that one which breaks off is an error, not a shorter source."""

from __future__ import annotations

import decimal
import gzip
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument, SourceEmpty
from airflow_provider_mlops.vector import Records
from airflow_provider_mlops.vector.errors import SourceUnreadable
from airflow_provider_mlops.vector.sources import Files, SqlRows, find_files
from airflow_provider_mlops.vector.sources.base import plain

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROWS = [{"id": f"doc{n}", "text": f"text number{n} {os.urandom(8).hex()}", "year": n} for n in range(5000)]


def files(pattern: Path | str, **arguments: Any) -> Files:
    return Files(find_files(str(pattern), Path), **arguments)


def records(source: Any) -> list[Any]:
    return [record.record for record in source.records()]


def json_lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def table(**columns: Any) -> Any:
    return pa.table({"id": [row["id"] for row in ROWS], "text": [row["text"] for row in ROWS], **columns})


def write_parquet(path: Path, **columns: Any) -> None:
    pq.write_table(table(**columns), path, row_group_size=1700)


def write_arrow(path: Path, **columns: Any) -> None:
    with pa.ipc.new_file(path, table(**columns).schema) as file:
        file.write_table(table(**columns), max_chunksize=1700)


def test_json_lines_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines())
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json_lines()))
    assert records(files(tmp_path / "a.jsonl")) == ROWS
    assert records(files(tmp_path / "*.jsonl*")) == ROWS * 2


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_rows_of_typed_files(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / f"rows.{write.__name__.removeprefix('write_')}"
    vectors = np.random.default_rng(1).normal(size=(len(ROWS), 3)).astype(np.float32)
    write(
        path,
        fixed=pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3),
        lists=pa.array([None if n == 7 else [float(n), 1.5] for n in range(len(ROWS))], pa.list_(pa.float64())),
        price=pa.array([decimal.Decimal("1.50")] * len(ROWS)),
        day=pa.array([0] * len(ROWS), pa.date32()),
        tags=pa.array([["a"]] * len(ROWS)),
    )  # fmt: skip
    found = records(files(path))
    assert len(found) == len(ROWS)
    assert [row["id"] for row in found] == [row["id"] for row in ROWS]
    assert (found[3]["price"], found[3]["day"], found[3]["tags"]) == (1.5, "1970-01-01", ["a"])
    assert all(isinstance(row["fixed"], np.ndarray) and row["fixed"].dtype == np.float32 for row in found)
    assert np.array_equal(np.stack([row["fixed"] for row in found]), vectors)
    assert found[7]["lists"] is None
    assert all(list(row["lists"]) == [n, 1.5] for n, row in enumerate(found) if n != 7)
    assert list(records(files(path, columns=frozenset(["id", "day", "absent"])))[0]) == ["id", "day"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_null_vector_among_fixed_size_ones_moves_none_of_the_others(tmp_path: Path, suffix: str) -> None:
    vectors = pa.array([None if n % 5 == 2 else [n, n] for n in range(len(ROWS))], pa.list_(pa.float32(), 2))
    path = tmp_path / f"rows.{suffix}"
    if suffix == "arrow":
        write_arrow(path, vector=vectors)
    else:
        try:
            write_parquet(path, vector=vectors)
            pq.read_table(path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pytest.skip("before version 26, pyarrow does not bring such a column through Parquet")
    for number, row in enumerate(records(files(path))):
        assert row["vector"] is None if number % 5 == 2 else list(row["vector"]) == [number, number]


def test_text_files_are_documents_named_by_their_place_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "docs" / "guide").mkdir(parents=True)
    (tmp_path / "docs" / "guide" / "start.md").write_text("# Überschrift", encoding="utf-8")
    (tmp_path / "docs" / "index.md").write_bytes(b"\xef\xbb\xbfhello")
    (tmp_path / "docs" / "notes.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "docs" / "broken.md").write_bytes(b"\xff\xfe\x00")
    found = list(files(tmp_path / "docs" / "**" / "*.*", key="page", text="body").records())
    good = {record.record["page"]: record.record for record in found if record.record}
    assert {page: fields["body"] for page, fields in good.items()} == {
        "guide/start.md": "# Überschrift", "index.md": "hello", "notes.txt.gz": "packed",
    }  # fmt: skip
    assert good["guide/start.md"]["path"] == str(tmp_path / "docs" / "guide" / "start.md")
    (bad,) = (record for record in found if record.record is None)
    assert (bad.where, bad.problem.split(":")[0]) == ("broken.md", "not UTF-8")


@pytest.mark.parametrize("kind", ["jsonl.gz", "md.gz", "parquet", "arrow"])
def test_file_that_is_cut_off_is_unreadable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"cut.{kind}"
    if kind.endswith("gz"):
        path.write_bytes(gzip.compress(json_lines()))
    else:
        (write_parquet if kind == "parquet" else write_arrow)(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SourceUnreadable, match=r"cut\."):
        records(files(path))


def test_file_that_is_damaged_in_the_middle_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    path.write_bytes(content)
    with pytest.raises(SourceUnreadable, match=r"rows\.parquet"):
        records(files(path))


def test_stream_format_of_arrow_is_refused_because_its_end_cannot_be_told(tmp_path: Path) -> None:
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table().schema) as stream:
        stream.write_table(table())
    with pytest.raises(SourceUnreadable, match=r"rows\.arrow"):
        records(files(tmp_path / "rows.arrow"))


def test_file_that_vanishes_is_unreadable_and_none_at_all_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines())
    source = files(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(SourceUnreadable, match="FileNotFoundError"):
        records(source)
    for pattern in ("a.jsonl", "*.jsonl", "other/**/*.md"):
        with pytest.raises(SourceEmpty):
            files(tmp_path / pattern)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "docs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE docs (id INTEGER, body TEXT, at TIMESTAMP)")
        rows = [(n, f"text {n}", "2026-01-02") for n in range(2500)]
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?)", rows)
    connection.close()
    return path


def test_rows_of_a_query(database: Path) -> None:
    sql = "SELECT id, body AS text FROM docs WHERE id >= ?"
    found = records(SqlRows(lambda: sqlite3.connect(database), "db", sql, (100,)))
    assert found == [{"id": n, "text": f"text {n}"} for n in range(100, 2500)]


class Breaking:
    """A connection whose cursor fails in the middle, as one does when the server goes away."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self.closed = 0

    def cursor(self) -> Any:
        inner, connection = self._connection.cursor(), self

        class Cursor:
            fetches = 0

            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def fetchmany(self, size: int) -> Any:
                self.fetches += 1
                if self.fetches == 2:
                    raise sqlite3.OperationalError("server closed the connection unexpectedly")
                return inner.fetchmany(size)

            def close(self) -> None:
                connection.closed += 1

        return Cursor()

    def close(self) -> None:
        self.closed += 1
        self._connection.close()


def test_query_that_breaks_off_is_unreadable_and_its_connection_is_closed(database: Path) -> None:
    connection = Breaking(database)
    seen: list[Any] = []
    with pytest.raises(SourceUnreadable, match=r"query on 'db'.*server closed the connection"):
        seen.extend(SqlRows(lambda: connection, "db", "SELECT * FROM docs").records())
    assert connection.closed == 2


@pytest.mark.parametrize("sql", ["SELECT nothing FROM nowhere", ""])
def test_query_that_is_refused_is_named(database: Path, sql: str) -> None:
    with pytest.raises(SourceUnreadable, match="'db'"):
        records(SqlRows(lambda: sqlite3.connect(database), "db", sql or "SELEC"))


def some_documents() -> Iterator[dict[str, Any]]:
    yield from ROWS[:3]


def test_function_by_name_or_itself() -> None:
    name = f"{__name__}:some_documents"
    assert records(Records(some_documents)) == ROWS[:3]
    assert repr(Records(name)) == f"Records({name})" == repr(Records(some_documents))
    with pytest.raises(InvalidArgument, match="not of the form"):
        Records("no function")
    with pytest.raises(InvalidArgument, match="nothing_here"):
        records(Records("json:nothing_here"))


def test_values_as_json_holds_them() -> None:
    assert [plain(value) for value in (decimal.Decimal("3.0"), decimal.Decimal("0.5"), "x", None)] == [
        3,
        0.5,
        "x",
        None,
    ]
