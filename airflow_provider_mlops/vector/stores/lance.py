"""LanceDB: one table per index; versions are tags of it, and the tag ``live`` is what readers check out.

Every commit is atomic, and a reader who checks out a tag sees neither later writes nor half a write. Writes
go to the head of the table; a finished head gets a tag of its own. Tagged versions are never cleaned up, and a
dropped one keeps a tag for an hour, for those who are reading it.

A service without this package searches a finished index with LanceDB alone::

    table = lancedb.connect(uri).open_table("Docs")
    table.checkout("live")  # or the name of one version, from the payload
    hits = table.search(vector).distance_type("cosine").select(["doc", "text", "_distance"]).limit(5).to_list()

(Selecting ``_distance`` by name silences a warning per query.) From 50,000 rows on the vectors have an approximate
index, which needs no further options.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, ExtraMissing, InvalidArgument
from airflow_provider_mlops.vector.errors import (
    ActivationFailed,
    VersionIncomplete,
    VersionMissing,
)
from airflow_provider_mlops.vector.stores.base import (
    Joined,
    Layout,
    Lease,
    State,
    Version,
    is_version_name,
    version_name,
)
from airflow_provider_mlops.vector.stores.lance_errors import translated
from airflow_provider_mlops.vector.stores.lance_lease import JoinedLease, lance_lease
from airflow_provider_mlops.vector.stores.lance_rows import (
    arrow_schema,
    table_meta,
)
from airflow_provider_mlops.vector.stores.lance_rules import LIVE, REJECTED, dropped_tag, is_own_tag
from airflow_provider_mlops.vector.stores.lance_table import LanceBuild, LanceSnapshot

# What LanceDB's Rust part takes from the environment, unless it is set there already. It would write warnings past
# Python's logging, straight into the task log; and it would read 2 GB ahead while it merges files, in batches of 8,192 rows.
_RUST_DEFAULTS = {
    "LANCEDB_LOG": "error",
    "RUST_LOG": "error",
    "LANCE_DEFAULT_IO_BUFFER_SIZE": str(32 * 1024 * 1024),
    "LANCE_DEFAULT_BATCH_SIZE": "1024",
}


def open_lance(index: str, *, uri: str | None, connection: ConnectionInfo | None) -> LanceStore:
    """Open the database that holds the index.

    :param uri: folder or object store location; default the connection's host.
    :param connection: its password is the storage's secret key, its extra ``storage_options`` a JSON object.
    :raises ExtraMissing: LanceDB is not installed.
    :raises InvalidArgument: neither URI nor connection.
    :raises ConnectionIncomplete: the connection has no host, or its storage options are not JSON.
    """
    location = uri or (connection.host if connection else None)
    if not location:
        if connection:
            raise ConnectionIncomplete(
                f"Connection {connection.conn_id!r} has no URI", conn_id=connection.conn_id
            )
        raise InvalidArgument(f"Index {index!r}: no LanceDB location", next_step="Set uri or conn_id.")
    if "@" in urlsplit(location).netloc:
        raise InvalidArgument(
            f"Index {index!r}: LanceDB does not know Airflow connections inside a URI",
            next_step="Set uri to a plain location, or conn_id to a connection of type lancedb.",
        )
    for name, value in _RUST_DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        import lancedb
    except ImportError as error:
        raise ExtraMissing(
            "LanceDB is not installed", next_step="pip install 'airflow-provider-mlops[lancedb]'"
        ) from error
    if location.startswith("file://"):
        location = unquote(urlsplit(location).path)
    with translated(index):
        database = lancedb.connect(location, storage_options=_storage_options(connection))
    return LanceStore(database, index)


def check(connection: ConnectionInfo) -> str:
    """Ask the connection's database for its tables; returns a line that says what answered.

    Raises as :func:`open_lance` and the store's own methods.
    """
    store = open_lance("connection-test", uri=None, connection=connection)
    return f"{store.table_count()} tables at {connection.host}"


def _storage_options(connection: ConnectionInfo | None) -> dict[str, str] | None:
    if connection is None:
        return None
    options = connection.extra.get("storage_options") or {}
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except ValueError:
            options = None
    if not isinstance(options, dict):
        raise ConnectionIncomplete(
            f"Connection {connection.conn_id!r}: storage_options is not a JSON object",
            conn_id=connection.conn_id,
        )
    texts = {str(name): str(value) for name, value in options.items()}
    if connection.password:
        texts.setdefault("aws_secret_access_key", connection.password)
    return texts or None


class LanceStore:
    """One index as one table. See :class:`~airflow_provider_mlops.vector.stores.base.Store`."""

    shared_writes = False

    def __init__(self, database: Any, index: str) -> None:
        self._database = database
        self._index = index

    def table_count(self) -> int:
        """Number of tables in the database, of whatever index."""
        with translated(self._index):
            return len(self._database.list_tables().tables)

    def _table(self, name: str) -> Any | None:
        with translated(self._index):
            try:
                return self._database.open_table(name)
            except ValueError as error:
                if "was not found" in str(error):
                    return None
                raise

    def _tags(self, table: Any) -> dict[str, int]:
        with translated(self._index):
            return {name: tag["version"] for name, tag in table.tags.list().items()}

    def versions(self) -> list[Version]:
        """Tags, and the head if it has none yet."""
        table = self._table(self._index)
        if table is None:
            return []
        tags = self._tags(table)
        states: dict[str, State] = {name: "built" for name in tags if is_version_name(name)}
        rejected = (name.removeprefix(REJECTED) for name in tags if name.startswith(REJECTED))
        states.update((name, "rejected") for name in rejected)
        found = [Version(name, self._index, state) for name, state in states.items()]
        if table.version not in tags.values():
            number = max((version.number for version in found), default=0) + 1
            found.append(
                Version(version_name(number, table_meta(table)["fingerprint8"]), self._index, "building")
            )
        return sorted(found, key=lambda version: version.number, reverse=True)

    def live(self) -> Version | None:
        """The version whose commit the tag ``live`` points to."""
        table = self._table(self._index)
        tags = self._tags(table) if table is not None else {}
        commit = tags.get(LIVE)
        names = [name for name in tags if is_version_name(name) and tags[name] == commit]
        return Version(names[0], self._index, "built") if names else None

    def _checked_out(self, version: str) -> Any:
        table = self._table(self._index)
        tags = self._tags(table) if table is not None else {}
        tag = next((tag for tag in (version, REJECTED + version) if tag in tags), None)
        if table is None or tag is None:
            raise self._missing(version)
        with translated(self._index):
            table.checkout(tag)
        return table

    def _missing(self, version: str) -> VersionMissing:
        names = ", ".join(other.name for other in self.versions()) or "none at all"
        return VersionMissing(f"Index {self._index!r} has no version {version!r}; there are: {names}")

    def read(self, version: str) -> LanceSnapshot:
        """Check out a version."""
        return LanceSnapshot(self._checked_out(version), self._index)

    def begin(self, name: str, layout: Layout, base: str | None) -> LanceBuild:
        """Make the head empty, or equal to ``base``; readers of tags see neither."""
        if base is not None:
            table = self._checked_out(base)
            self._restore(table)
        else:
            with translated(self._index):
                table = self._database.create_table(
                    self._index, schema=arrow_schema(layout, name.rsplit("_", 1)[1]), mode="overwrite"
                )
        return LanceBuild(table, self._index, Version(name, self._index, "building"))

    def _restore(self, table: Any) -> None:
        with translated(self._index):
            commit = table.version
            table.checkout_latest()
            # A commit of its own even where nothing changes: without a tag it shows that there is something to go on with.
            table.restore(commit)

    def resume(self, version: str) -> LanceBuild:
        """Write on at the head; a rejected version becomes the head again and loses its mark."""
        known = {known.name: known for known in self.versions()}.get(version)
        if known is None:
            raise self._missing(version)
        if known.state == "built":
            raise InvalidArgument(
                f"Index {self._index!r}: version {version} is finished and is not written any more"
            )
        if known.state == "rejected":
            table = self._checked_out(version)
            self._restore(table)
            with translated(self._index):
                table.tags.delete(REJECTED + version)
        else:
            table = self._table(self._index)
        return LanceBuild(table, self._index, Version(version, self._index, "building"))

    def adapt(self, version: str, layout: Layout) -> None:
        """Nothing to do: versions do not change."""

    def activate(self, version: str) -> str | None:
        """Point the tag ``live`` to the version's commit."""
        table = self._table(self._index)
        tags = self._tags(table) if table is not None else {}
        if table is None or version not in tags:
            if any(known.name == version for known in self.versions()):
                raise VersionIncomplete(f"Index {self._index!r}: version {version} is not finished")
            raise self._missing(version)
        before = self.live()
        if before is None or before.name != version:
            with translated(self._index):
                (table.tags.update if LIVE in tags else table.tags.create)(LIVE, tags[version])
            if self._tags(table).get(LIVE) != tags[version]:
                raise ActivationFailed(f"Index {self._index!r}: the tag {LIVE!r} did not move to {version}")
        return before.name if before else None

    def pinned(self) -> set[str]:
        """Versions whose commit has a tag that is none of ours."""
        table = self._table(self._index)
        tags = self._tags(table) if table is not None else {}
        foreign = {commit for tag, commit in tags.items() if not is_own_tag(tag)}
        return {tag for tag, commit in tags.items() if is_version_name(tag) and commit in foreign}

    def drop(self, version: str) -> None:
        """Rename the version's tag; later builds clean up what was dropped long enough ago for its readers."""
        table = self._table(self._index)
        tags = self._tags(table) if table is not None else {}
        for tag in (version, REJECTED + version):
            if table is not None and tag in tags:
                with translated(self._index):
                    table.tags.create(dropped_tag(version, time.time()), tags[tag])
                    table.tags.delete(tag)

    def lease(self, holder: str) -> AbstractContextManager[Lease]:
        """See :func:`~airflow_provider_mlops.vector.stores.lance_lease.lance_lease`."""
        return lance_lease(self._database, self._index, holder)

    def join(self, token: str) -> Joined:
        """See :class:`~airflow_provider_mlops.vector.stores.lance_lease.JoinedLease`."""
        return JoinedLease(self._table(f"{self._index}_lease"), self._index, token)

    def close(self) -> None:
        """Nothing to give back: LanceDB has no connection."""
