"""The faults that a run on LanceDB is put through."""

from __future__ import annotations

from airflow_provider_mlops.errors import RemoteUnavailable, StorageUnwritable
from airflow_provider_mlops.vector.errors import IndexFilesDamaged, WritesUnconfirmed
from tests.unit.vector.fault_cases import Case, Way

_WAYS: tuple[Way, ...] = ("beside", "rebuild")

WRITE_CASES = [
    Case(
        id="lance-quota",
        what="no file may become larger (a quota)",
        error=StorageUnwritable,
        ways=_WAYS,
    ),
    Case(
        id="lance-disk-full",
        what="the disk is full",
        error=StorageUnwritable,
        ways=_WAYS,
    ),
    Case(
        id="lance-read-only",
        what="the folder becomes read-only",
        error=StorageUnwritable,
        ways=_WAYS,
    ),
    Case(
        id="lance-conflict",
        what="another writer, without a lease, starts the table anew",
        error=RemoteUnavailable,
        ways=_WAYS,
    ),
    Case(
        id="lance-write-lost",
        what="rows that were written are not there (another writer deletes them)",
        error=WritesUnconfirmed,
        ways=_WAYS,
    ),
]

DAMAGE_CASES = [
    Case(
        id="lance-file-removed",
        what="data files are removed",
        error=IndexFilesDamaged,
        ways=_WAYS,
    ),
    Case(
        id="lance-file-cut",
        what="data files are cut off",
        error=IndexFilesDamaged,
        ways=_WAYS,
    ),
    Case(
        id="lance-manifest-cut",
        what="the table's newest manifest is cut off",
        error=IndexFilesDamaged,
        ways=_WAYS,
    ),
]

ALL_CASES = [*WRITE_CASES, *DAMAGE_CASES]
