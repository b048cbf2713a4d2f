"""The ledger of a channel: one immutable tag for every promotion. Pure decisions over tag names.

A build date does not say what was ever live; the ledger does, and it is what a rollback reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from airflow_provider_mlops.oci.tag_policy import ledger_moment, ledger_tag


@dataclass(frozen=True, slots=True, order=True)
class Promotion:
    """One entry: when, and under which tag."""

    moment: datetime
    tag: str


def promotions(tags: Iterable[str], channel: str) -> list[Promotion]:
    """Ledger entries of a channel among all tags of a repository, newest first."""
    found = ((ledger_moment(tag, channel), tag) for tag in tags)
    return sorted((Promotion(moment, tag) for moment, tag in found if moment is not None), reverse=True)


def next_tag(entries: list[Promotion], channel: str, now: datetime) -> str:
    """Ledger tag for a promotion now: always newer than the newest entry, even if a clock runs behind."""
    moment = now.astimezone(UTC).replace(microsecond=0)
    if entries:
        moment = max(moment, entries[0].moment + timedelta(seconds=1))
    return ledger_tag(channel, moment)


def previous(
    entries: list[Promotion], current: str | None, digest_of: Callable[[str], str | None]
) -> tuple[Promotion, str] | None:
    """The newest entry whose digest is not ``current``, with that digest.

    A rollback is a promotion too, so "previous" after a rollback is what was rolled back.

    :param digest_of: looks a tag up; asked newest first and no further than needed.
    """
    for entry in entries:
        digest = digest_of(entry.tag)
        if digest is not None and digest != current:
            return entry, digest
    return None
