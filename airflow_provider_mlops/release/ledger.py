"""The releases of one service in one channel, as a folder at a URI.

::

    <ledger>/<service>/<channel>/
        records/<release_id>.json   one for every release and rollback, never changed
        current.json                {"release_id": ...}: what is live
        journal/<key>.json          steps of each run
        open.json                   {"journal": <key>}: the run that moves the channel, or was cut off
        lease.json                  who moves the channel right now
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.release.errors import LedgerCorrupt, ReleaseNotFound
from airflow_provider_mlops.release.files import names, read_json, remove, uri_of, write_json
from airflow_provider_mlops.release.journal import Journal
from airflow_provider_mlops.release.record import ReleaseRecord

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ReleaseLedger:
    """Reads and writes the folder of one channel.

    :param root: folder of all releases, as a ``pathlib.Path`` or an ``ObjectStoragePath``.
    :raises InvalidArgument: service or channel is not a plain name.
    """

    def __init__(self, root: Any, service: str, channel: str) -> None:
        for what, name in (("service", service), ("channel", channel)):
            if not _NAME.fullmatch(name):
                raise InvalidArgument(
                    f"{what} {name!r} is not a name", next_step="Use letters, digits, '_', '.' and '-'."
                )
        self.service = service
        self.channel = channel
        self.folder = root / service / channel

    def release_ids(self) -> list[str]:
        """Ids of all releases, newest first."""
        return sorted(names(self.folder / "records"), reverse=True)

    def records(self) -> Iterator[ReleaseRecord]:
        """All releases, newest first, read one by one."""
        return (self.record(release_id) for release_id in self.release_ids())

    def record(self, release_id: str) -> ReleaseRecord:
        """One release.

        :raises ReleaseNotFound: there is none of that id.
        :raises LedgerCorrupt: its file is damaged.
        """
        data = read_json(self._record_file(release_id)) if _NAME.fullmatch(release_id) else None
        if data is None:
            raise ReleaseNotFound(
                f"Service {self.service!r} has no release {release_id!r} in channel {self.channel!r}",
                service=self.service,
                channel=self.channel,
                release_id=release_id,
            )
        record = ReleaseRecord.from_json(data)
        if record.release_id != release_id:
            raise LedgerCorrupt(f"{self.record_uri(release_id)} holds release {record.release_id!r}")
        return record

    def record_uri(self, release_id: str) -> str:
        """Where the record of a release lies."""
        return uri_of(self._record_file(release_id))

    def current(self) -> ReleaseRecord | None:
        """The release that is live, or ``None`` before the first one."""
        data = read_json(self.folder / "current.json")
        if data is None:
            return None
        if not isinstance(data.get("release_id"), str):
            raise LedgerCorrupt(f"{uri_of(self.folder / 'current.json')} names no release")
        return self.record(data["release_id"])

    def unfinished(self) -> Journal | None:
        """Journal of a run that may have moved something and has not ended, if there is one."""
        data = read_json(self.folder / "open.json")
        found = self.journal(str(data["journal"])) if data else None
        if found is None or found.finished or not found.begun:
            return None
        current = self.current()
        # The pointer is the last thing that a release moves; what is missing then is book-keeping.
        return None if current and current.release_id == found.record.release_id else found

    def journal(self, key: str) -> Journal | None:
        """Journal of a run."""
        return Journal.read(self.folder, key)

    def begin(self, journal: Journal) -> None:
        """Make this the run that has begun."""
        journal.save()
        write_json(self.folder / "open.json", {"journal": journal.key})

    def complete(self, journal: Journal) -> None:
        """Write the record, then make it the current one. Repeatable."""
        record = journal.record
        journal.start("record")
        write_json(self._record_file(record.release_id), record.to_json())
        write_json(self.folder / "current.json", {"release_id": record.release_id})
        remove(self.folder / "open.json")
        journal.finish()

    def _record_file(self, release_id: str) -> Any:
        return self.folder / "records" / f"{release_id}.json"
