"""What may be done, and from where: plans, fuses, versions to start from and to drop. Pure decisions."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal, get_args

from airflow_provider_mlops.vector.errors import TooManyBadRecords, TooManyDeletes
from airflow_provider_mlops.vector.stores.base import Version

Mode = Literal["auto", "sync", "rebuild"]
Action = Literal["built", "synced", "unchanged"]


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """How many chunks there are to write and to delete.

    :param added: chunks that are not there.
    :param updated: chunks that are there with other properties or another place in their document.
    :param deleted: chunks that the source no longer has.
    :param unchanged: chunks that stay as they are.
    """

    added: int
    updated: int
    deleted: int
    unchanged: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.added or self.updated or self.deleted)

    @property
    def writes(self) -> int:
        """Chunks to send."""
        return self.added + self.updated


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """How many documents come, change, go, and stay as they are."""

    new: int
    changed: int
    deleted: int
    unchanged: int


def written_in_place(
    start: Version | None, live: Version | None, *, shared_writes: bool, activate: bool, gated: bool
) -> bool:
    """Whether differences go straight into the live version, which takes a store where readers see writes at once.

    :param start: version that the differences are from.
    """
    return start is not None and start == live and shared_writes and activate and not gated


def reason(
    action: Action,
    mode: Mode,
    start: Version | None,
    live: Version | None,
    attempt: Version | None,
    fingerprint: str,
    *,
    in_place: bool,
    known: bool,
) -> str:
    """Why a run does what it does, in one line.

    :param attempt: the unfinished version that it goes on with.
    :param known: the index has versions.
    """
    if action == "unchanged" and start:
        return f"version {start.name} holds what the source holds"
    if start:
        how = "written into it" if in_place else "written beside it"
        why = f"version {start.name} has the same fingerprint: only differences are {how}"
    elif mode == "rebuild":
        why = "mode='rebuild'"
    elif not known:
        why = "there is no version yet"
    else:
        other = f" (the live one has {live.fingerprint8})" if live else ""
        why = f"no finished version has the fingerprint {fingerprint[:8]}{other}"
    return f"{why}; goes on with {attempt.name}, which is {attempt.state}" if attempt else why


def fuse_problem(mode: str, max_delete_fraction: float, max_bad_fraction: float) -> str | None:
    """What is wrong with these arguments of an operator, or ``None``."""
    if mode not in get_args(Mode):
        return f"mode is {mode!r}; there are {', '.join(get_args(Mode))}"
    if not (0 <= max_delete_fraction <= 1 and 0 <= max_bad_fraction <= 1):
        return "max_delete_fraction and max_bad_fraction lie between 0 and 1"
    return None


def check_deletes(index: str, gone: int, before: int, example: str, max_fraction: float) -> None:
    """The fuse against a source that is suddenly shorter.

    :param gone: how many documents of a version the source lacks.
    :param before: how many documents the version holds.
    :param example: key of one that is gone.
    :param max_fraction: share of ``before`` that may vanish in one run.
    :raises TooManyDeletes: more would vanish.
    """
    if gone > max_fraction * before:
        raise TooManyDeletes(
            f"Index {index!r}: {gone} of {before} documents are missing in the source "
            f"({gone / before:.1%}, allowed are {max_fraction:.1%}), for example {example!r}",
            missing=gone,
            indexed=before,
        )


def check_bad(index: str, bad: int, records: int, max_fraction: float, first: str) -> None:
    """The threshold for unusable records.

    :param first: the first reason, for the message.
    :raises TooManyBadRecords: there are more.
    """
    if bad > max_fraction * records:
        raise TooManyBadRecords(
            f"Index {index!r}: {bad} of {records} records are unusable (allowed are {max_fraction:.2%}); "
            f"the first: {first}",
            bad=bad,
            records=records,
        )


def comparable(versions: Sequence[Version], live: Version | None, fingerprint: str) -> list[Version]:
    """Finished versions that a sync can start from: the live one first, then the newest, if they are alike.

    :param versions: all versions, newest first.
    :param fingerprint: of the index as it is declared now.
    """
    alike = [
        version
        for version in versions
        if version.state == "built" and version.fingerprint8 == fingerprint[:8]
    ]
    chosen = [version for version in alike if live is not None and version.name == live.name]
    if alike and alike[0] not in chosen:
        chosen.append(alike[0])
    return chosen


def unfinished(versions: Sequence[Version], fingerprint: str) -> Version | None:
    """An interrupted or rejected attempt that is newer than everything finished, and alike: it is gone on with."""
    for version in versions:
        if version.state == "built":
            return None
        if version.fingerprint8 == fingerprint[:8]:
            return version
    return None


def superfluous(
    versions: Sequence[Version], live: Version | None, current: Version, keep: int
) -> list[Version]:
    """What may go once ``current`` is finished: surplus finished versions, and attempts older than it.

    The live and the current version always stay.
    """
    stays = {current.name, *([live.name] if live else [])}
    kept = 0
    gone = []
    for version in versions:
        if version.state == "built":
            kept += 1
            if kept > keep and version.name not in stays:
                gone.append(version)
        elif version.number < current.number and version.name not in stays:
            gone.append(version)
    return gone


def garbage(versions: Sequence[Version], live: Version | None, pinned: Set[str], keep: int) -> list[Version]:
    """What nobody needs: finished versions beyond the newest ``keep``, and attempts older than the newest of them.

    The live version always stays, and what others point to. So does an attempt that is newer than everything
    finished: the next run goes on with it, or somebody looks at why it was rejected.

    :param versions: all versions, newest first.
    :param pinned: names of versions that others point to.
    """
    newest = next((version for version in versions if version.state == "built"), None)
    if newest is None:
        return []
    return [old for old in superfluous(versions, live, newest, keep) if old.name not in pinned]


def version_before(versions: Sequence[Version], live: Version | None) -> Version | None:
    """The newest finished version that is older than the live one.

    :param versions: all versions, newest first.
    """
    older = (
        version for version in versions if version.state == "built" and live and version.number < live.number
    )
    return next(older, None)


def next_number(versions: Sequence[Version]) -> int:
    """Number of the next version."""
    return max((version.number for version in versions), default=0) + 1
