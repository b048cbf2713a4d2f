"""Which tags there are and which of them may move. Pure decisions.

=====================================  =========  ==================================================
tag                                    moves      says
=====================================  =========  ==================================================
``b-<hash>``                           never      the content: the same Bento always has the same one
``YYYYMMDD-HHMMSS`` (UTC)              never      the DAG run that released it
``<channel>-YYYYMMDD-HHMMSS`` (UTC)    never      the ledger: this image was promoted then
``<channel>-undo-<hash>``              never      the choice that a rollback made, for its retries
``<channel>``                          always     what is live
=====================================  =========  ==================================================

The digest is the identity; tags are labels for people and for finding the way back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.oci.errors import ImageTagConflict, InvalidReference
from airflow_provider_mlops.oci.reference import is_tag

_MOMENT = "%Y%m%d-%H%M%S"
_DATED = re.compile(r"(?:(?P<channel>.+)-)?(?P<moment>[0-9]{8}-[0-9]{6})")
_CONTENT = re.compile(r"b-[0-9a-f]{16,64}")
_ROLLBACK = re.compile(r".+-undo-[0-9a-f]{16}")
_HASH_SHOWN = 16


def content_tag(content_hash: str) -> str:
    """``b-`` and the first 16 hex digits of the content's hash (with or without ``sha256:``)."""
    return f"b-{content_hash.removeprefix('sha256:')[:_HASH_SHOWN]}"


def date_tag(moment: datetime) -> str:
    """``YYYYMMDD-HHMMSS`` in UTC.

    :raises InvalidArgument: a moment without a time zone, which would mean something else on every machine.
    """
    if moment.tzinfo is None:
        raise InvalidArgument(f"Moment {moment.isoformat()} has no time zone")
    return moment.astimezone(UTC).strftime(_MOMENT)


def ledger_tag(channel: str, moment: datetime) -> str:
    """``<channel>-YYYYMMDD-HHMMSS`` in UTC."""
    return f"{channel}-{date_tag(moment)}"


def rollback_tag(channel: str, key: str) -> str:
    """``<channel>-undo-<key>``, with a key of 16 hex digits."""
    return f"{channel}-undo-{key}"


def ledger_moment(tag: str, channel: str) -> datetime | None:
    """When the image of this ledger tag was promoted; ``None`` if it is not a ledger tag of the channel."""
    match = _DATED.fullmatch(tag)
    if match is None or match["channel"] != channel:
        return None
    try:
        return datetime.strptime(match["moment"], _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        return None


def is_immutable(tag: str) -> bool:
    """Whether the tag is one of those that never move, whoever asks."""
    return any(form.fullmatch(tag) for form in (_DATED, _CONTENT, _ROLLBACK))


def check_channel(channel: str) -> str:
    """The channel, if it may be one.

    :raises InvalidReference: not a tag, too long for its ledger tags, or the form of a tag that never moves.
    """
    if not is_tag(ledger_tag(channel, datetime.now(UTC))) or is_immutable(channel):
        raise InvalidReference(
            f"Channel {channel!r} is not a tag that may move",
            next_step="Use a short word such as 'production' or 'beta'.",
        )
    return channel


def check_tag(tag: str) -> str:
    """The tag, if a registry accepts it.

    :raises InvalidReference: it does not.
    """
    if not is_tag(tag):
        raise InvalidReference(
            f"Tag {tag!r} is not a tag",
            next_step="Use at most 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'.",
        )
    return tag


def must_write(repository: str, tag: str, *, wanted: str, present: str | None, move: bool = False) -> bool:
    """Whether the tag has to be written so that it names ``wanted``.

    :param present: digest that it names now.
    :param move: whether a tag that names another digest is to move. Tags that never move do not.
    :raises ImageTagConflict: it names another digest and does not move.
    """
    if present is None:
        return True
    if present == wanted:
        return False
    if move and not is_immutable(tag):
        return True
    raise ImageTagConflict(
        f"Tag {repository}:{tag} already names {present}, not {wanted}",
        repository=repository,
        tag=tag,
        present=present,
        wanted=wanted,
    )
