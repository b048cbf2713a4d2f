"""LanceDB: when to index, and what may be cleaned up. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_provider_mlops.vector.stores.base import is_version_name

#: From so many rows on, vectors get an approximate index; below, comparing with all of them is fast and exact.
ROWS_TO_INDEX = 50_000
#: Seconds for which a dropped version can still be read by those who opened it.
GRACE = 3600.0
#: Least share of the true ten nearest that an approximate index has to find.
MIN_RECALL = 0.95
#: Tag that readers check out, and the start of those of rejected versions.
LIVE = "live"
REJECTED = "rejected_"
_DROPPED = "dropped_"


def needs_vector_index(rows: int, indexed: int | None, unindexed: int) -> bool:
    """Whether the vectors have to be indexed anew; otherwise an index that is there is brought up to date.

    :param rows: rows of the table.
    :param indexed: rows that an index covers, ``None`` without one.
    :param unindexed: rows that were added since.
    """
    if rows < ROWS_TO_INDEX:
        return False
    # An index that was trained on less than half of what it covers finds less.
    return indexed is None or unindexed > indexed


def dropped_tag(version: str, now: float) -> str:
    """Tag that keeps a dropped version for its readers."""
    return f"{_DROPPED}{int(now)}_{version}"


def is_own_tag(tag: str) -> bool:
    """Whether this package made the tag; others' keep what they point to."""
    return tag == LIVE or is_version_name(tag) or tag.startswith((REJECTED, _DROPPED))


def expired_tags(tags: Iterable[str], now: float) -> list[str]:
    """Tags of versions that were dropped long enough ago."""
    dropped = [tag for tag in tags if tag.startswith(_DROPPED)]
    return [tag for tag in dropped if now - float(tag.split("_")[1]) > GRACE]


def cleanup_age(tagged: Iterable[int], times: Mapping[int, float], now: float) -> float:
    """How old (in seconds) a commit must be to be cleaned up.

    LanceDB refuses to clean up as soon as a tagged commit is old enough, so the oldest of these is the limit.

    :param tagged: commits that have a tag.
    :param times: when each commit was made.
    """
    oldest = min((times[commit] for commit in tagged if commit in times), default=now)
    return max(GRACE, now - oldest + 1)


def is_tidy(small_files: int, indexes: int, oldest: float, cleanup: float) -> bool:
    """Whether a table can stay as it is: as after a first build, whose files need not be read and written once more.

    :param small_files: files that LanceDB calls small. The last one of a build is one of them.
    :param indexes: indexes that there are; they have to learn of what is new.
    :param oldest: age of the oldest commit, in seconds.
    :param cleanup: how old a commit must be to be cleaned up, in seconds.
    """
    return small_files <= 1 and not indexes and oldest <= cleanup
