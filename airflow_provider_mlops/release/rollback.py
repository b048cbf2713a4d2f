"""What a release or a rollback is to make live, seeing what is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_mlops.release.errors import NoPreviousRelease
from airflow_provider_mlops.release.record import (
    ReleaseRecord,
    content_hash,
    identities,
    next_moment,
    release_id,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand when a run begins.

    :param current: the release that is live.
    :param unfinished: what a run that ended half-way was about to make live, so parts of it may be.
    :param newest: id of the newest release, finished or not.
    """

    service: str
    channel: str
    current: ReleaseRecord | None
    unfinished: ReleaseRecord | None
    newest: str | None


def draft_release(
    standing: Standing, parts: Mapping[str, Any], *, run: Mapping[str, str], now: datetime
) -> ReleaseRecord:
    """The release to make; the current one itself, if it is just this.

    :raises PartInvalid: a part has no identity.
    """
    found = identities(parts)
    content = content_hash(found)
    current = standing.current
    if current and current.content == content and standing.unfinished is None:
        return current
    moment = next_moment(now, standing.newest)
    return ReleaseRecord(
        release_id=release_id(moment, content),
        service=standing.service,
        channel=standing.channel,
        created_at=moment.isoformat(),
        action="release",
        parts=parts,
        identities=found,
        previous_release_id=current.release_id if current else None,
        run=run,
    )


def draft_rollback(
    standing: Standing, target: ReleaseRecord, *, run: Mapping[str, str], now: datetime
) -> ReleaseRecord:
    """The rollback to make; the current release itself, if it is what to go back to."""
    current = standing.current
    if current and current.content == target.content and standing.unfinished is None:
        return current
    moment = next_moment(now, standing.newest)
    taken_back = standing.unfinished or current
    return ReleaseRecord(
        release_id=release_id(moment, target.content),
        service=standing.service,
        channel=standing.channel,
        created_at=moment.isoformat(),
        action="rollback",
        parts=target.parts,
        identities=target.identities,
        previous_release_id=current.release_id if current else None,
        run=run,
        rolled_back_from=taken_back.release_id if taken_back else None,
        restores=target.release_id,
    )


def previous(standing: Standing, records: Iterable[ReleaseRecord]) -> ReleaseRecord:
    """What "previous" means.

    After a run that ended half-way it is the last complete release. Otherwise it is the newest release with
    other parts than the current one, so after a rollback it is what was rolled back.

    :param records: all releases, newest first; read no further than needed.
    :raises NoPreviousRelease: there is no such release.
    """
    if standing.unfinished is not None:
        if standing.current is not None:
            return standing.current
    else:
        for record in records:
            if standing.current is None or record.content != standing.current.content:
                return record
    raise NoPreviousRelease(
        f"Service {standing.service!r} had no other release in channel {standing.channel!r}",
        service=standing.service,
        channel=standing.channel,
    )
