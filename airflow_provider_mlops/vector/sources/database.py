"""Documents from an SQL query, read with a cursor on the server's side where the driver has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.vector.sources.base import SourceRecord, plain, reading

Parameters = Sequence[Any] | Mapping[str, Any]
_ROWS_PER_FETCH = 1000


@dataclass(slots=True)
class SqlSource:
    """Documents from a query: one row per document, one field per column.

    Dates and times come as ISO 8601 text, decimals as numbers.

    :param conn_id: Airflow connection of any SQL database (its hook has ``get_conn``, as those built on
        ``DbApiHook`` do).
    :param sql: the query; give it an order only if people need one (templated).
    :param parameters: for the query's placeholders, in the driver's style (templated).
    """

    conn_id: str
    sql: str
    parameters: Parameters | None = None

    #: Airflow renders these where the source is an operator's argument.
    template_fields = ("sql", "parameters")


@dataclass(frozen=True, slots=True)
class SqlRows:
    """A query that can be carried out.

    :param connect: opens a DB-API connection.
    :param name: of the connection, for messages.
    :param sql: the query.
    :param parameters: for its placeholders.
    """

    connect: Callable[[], Any]
    name: str
    sql: str
    parameters: Parameters | None = None

    def __str__(self) -> str:
        return f"query on {self.name!r}"

    def records(self) -> Iterator[SourceRecord]:
        """One record per row.

        :raises SourceUnreadable: the database cannot be reached, refuses the query, or breaks off.
        """
        with (
            reading(str(self)),
            closing(self.connect()) as connection,
            closing(_cursor(connection)) as cursor,
        ):
            cursor.execute(self.sql, *([] if self.parameters is None else [self.parameters]))
            number = 0
            names: list[str] = []
            while rows := cursor.fetchmany(_ROWS_PER_FETCH):
                # PostgreSQL's server-side cursors know their columns after the first fetch only.
                names = names or [column[0] for column in cursor.description]
                for row in rows:
                    number += 1
                    yield SourceRecord(f"row {number}", dict(zip(names, map(plain, row), strict=True)))


def _cursor(connection: Any) -> Any:
    """A cursor that leaves the result on the server; drivers hold all of it in memory by default."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg2", "psycopg"):
        return connection.cursor(name="airflow_provider_mlops")
    if driver == "MySQLdb":
        from importlib import import_module

        return connection.cursor(import_module("MySQLdb.cursors").SSCursor)
    return connection.cursor()
