"""A real PostgreSQL as the source: read with a cursor on its side, and going away in the middle."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.vector.errors import SourceUnreadable
from airflow_provider_mlops.vector.sources import SqlRows
from tests.servers.postgres import DATABASE, USER, Postgres

psycopg2 = pytest.importorskip("psycopg2")
ROWS = 20_000


@pytest.fixture
def connect(postgres_server: Postgres) -> Any:
    def opened() -> Any:
        return psycopg2.connect(
            host=postgres_server.host, port=postgres_server.first_port, user=USER, dbname=DATABASE
        )

    with opened() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS source_docs")
        cursor.execute(
            "CREATE TABLE source_docs AS SELECT n AS id, repeat('x', 2000) AS text, now() AS at, 1.50 AS price, "
            f"gen_random_uuid() AS tag FROM generate_series(1, {ROWS}) AS n"
        )
    connection.close()
    return opened


def test_rows_stay_on_the_server_until_they_are_asked_for(connect: Any) -> None:
    rows = SqlRows(
        connect, "docs", "SELECT * FROM source_docs WHERE id <= %(last)s", {"last": ROWS}
    ).records()
    first = next(rows).record
    assert first is not None
    assert (first["id"], first["price"], len(first["tag"])) == (1, 1.5, 36)
    assert first["at"].startswith("20")
    with connect() as watcher, watcher.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert any(query.startswith("FETCH") for (query,) in cursor.fetchall())
    watcher.close()
    assert sum(1 for _ in rows) == ROWS - 1


def test_server_that_ends_the_connection_in_the_middle_is_an_error(connect: Any) -> None:
    rows = SqlRows(connect, "docs", "SELECT * FROM source_docs").records()
    next(rows)
    with connect() as other, other.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        )
    other.close()
    with pytest.raises(SourceUnreadable, match="query on 'docs'"):
        for _ in rows:
            pass
