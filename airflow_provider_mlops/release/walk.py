"""Walk the steps of a release or a rollback so that a run that is killed anywhere can be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_provider_mlops.release.errors import ReleaseSuperseded
from airflow_provider_mlops.release.journal import Journal
from airflow_provider_mlops.release.lease import lease
from airflow_provider_mlops.release.ledger import ReleaseLedger
from airflow_provider_mlops.release.record import ReleaseRecord
from airflow_provider_mlops.release.rollback import Standing
from airflow_provider_mlops.release.steps import Step

Draft = Callable[[Standing], ReleaseRecord]
StepsOf = Callable[[ReleaseRecord], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The release that is live now, and how it came about."""

    record: ReleaseRecord
    action: Literal["release", "rollback", "unchanged"]


def standing_of(ledger: ReleaseLedger) -> Standing:
    """How things stand in a channel."""
    unfinished = ledger.unfinished()
    known = [*ledger.release_ids()[:1], *([unfinished.record.release_id] if unfinished else [])]
    return Standing(
        service=ledger.service,
        channel=ledger.channel,
        current=ledger.current(),
        unfinished=unfinished.record if unfinished else None,
        newest=max(known, default=None),
    )


def walk(
    ledger: ReleaseLedger,
    *,
    key: str,
    owner: str,
    draft: Draft,
    steps_of: StepsOf,
    log: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.time,
) -> Outcome:
    """Make a release live, or go on with what an earlier try has left.

    :param key: the same for all tries of one run: whoever comes back with it finds what was decided then.
    :param owner: name for the lease, the same for all tries of one task.
    :param draft: decides what to make live; the current record itself, if it is live already.
    :param steps_of: the steps of a release.
    :param log: receives one line for each step.
    :raises ReleaseBusy: another run is at work in this channel.
    :raises ReleaseSuperseded: another run was at work here after this one had begun.
    """
    with lease(ledger.folder, owner, clock=clock) as held:
        journal = _journal(ledger, key, draft)
        if isinstance(journal, ReleaseRecord):
            return Outcome(journal, "unchanged")
        record = journal.record
        if journal.finished:
            log(f"Release {record.release_id} was completed by an earlier try")
            return Outcome(record, record.action)
        left = [step for step in steps_of(record) if not journal.is_done(step.name)]
        for step in left:
            step.check()
        if not journal.begun or journal.key != key:
            journal = Journal.new(ledger.folder, key, record, journal.steps)
            ledger.begin(journal)
        for step in left:
            held.renew()
            journal.start(step.name)
            result = step.apply()
            journal.done(step.name, result)
            log(f"Release {record.release_id}: {step.name} {dict(result)}")
        held.renew()
        ledger.complete(journal)
        return Outcome(record, record.action)


def _journal(ledger: ReleaseLedger, key: str, draft: Draft) -> Journal | ReleaseRecord:
    """The journal to go on with, or the record that is live if there is nothing to do."""
    own, unfinished = ledger.journal(key), ledger.unfinished()
    if own and (own.finished or own.begun):
        if not own.finished:
            _refuse_if_superseded(ledger, own, unfinished)
        return own
    standing = standing_of(ledger)
    record = draft(standing)
    if record is standing.current:
        return record
    if unfinished and _same(unfinished.record, record):
        return unfinished
    return Journal.new(ledger.folder, key, record)


def _same(unfinished: ReleaseRecord, wanted: ReleaseRecord) -> bool:
    return unfinished.content == wanted.content and unfinished.action == wanted.action


def _refuse_if_superseded(ledger: ReleaseLedger, own: Journal, unfinished: Journal | None) -> None:
    current = ledger.current()
    live = current.release_id if current else None
    moved_on = live not in (own.record.previous_release_id, own.record.release_id)
    if moved_on or (unfinished is not None and unfinished.key != own.key):
        raise ReleaseSuperseded(
            f"Release {own.record.release_id} of {ledger.service!r} was cut off, and "
            f"{unfinished.record.release_id if unfinished and not moved_on else live} was begun after it",
            service=ledger.service,
            channel=ledger.channel,
        )
