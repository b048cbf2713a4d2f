"""What the commands ``release list`` and ``release show`` print."""

from __future__ import annotations

import json
from collections.abc import Iterator

from airflow_provider_mlops.release.diff import diff
from airflow_provider_mlops.release.errors import ReleaseNotFound
from airflow_provider_mlops.release.ledger import ReleaseLedger


def list_releases(ledger: ReleaseLedger) -> Iterator[str]:
    """One line for each release, newest first, with the parts that changed; ``*`` marks the current one."""
    current = ledger.current()
    records = list(ledger.records())
    by_id = {record.release_id: record for record in records}
    for record in records:
        mark = "*" if current and record.release_id == current.release_id else " "
        changes = diff(by_id.get(record.previous_release_id or ""), record)
        changed = ", ".join(change.part for change in changes) or "nothing"
        restored = f" restores {record.restores}" if record.restores else ""
        yield f"{mark} {record.release_id}  {record.action:<8}  changed: {changed}{restored}"


def show_release(ledger: ReleaseLedger, release_id: str) -> str:
    """A record as JSON.

    :param release_id: ``"current"``, or an id.
    :raises ReleaseNotFound: there is none.
    """
    record = ledger.current() if release_id == "current" else ledger.record(release_id)
    if record is None:
        raise ReleaseNotFound(f"Service {ledger.service!r} has no release in channel {ledger.channel!r}")
    return json.dumps(record.to_json(), indent=2, ensure_ascii=False)
