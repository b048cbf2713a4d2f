"""Tagging, promoting and going back, on any image store.

The order keeps the way back open: the ledger tag is written and checked before the channel tag moves,
and the channel tag is the last thing written. Every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_mlops.oci.errors import DigestMismatch, ImageNotFound, NoPreviousImage
from airflow_provider_mlops.oci.image_store import ImageStore, Manifest
from airflow_provider_mlops.oci.ledger import next_tag, previous, promotions
from airflow_provider_mlops.oci.reference import is_digest
from airflow_provider_mlops.oci.tag_policy import check_channel, check_tag, must_write, rollback_tag


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion found and did.

    :param ledger_tag: entry of the ledger that names ``digest``.
    :param previous_digest: what the channel named before; ``None`` for the first promotion.
    :param changed: whether the channel moved.
    """

    digest: str
    ledger_tag: str
    previous_digest: str | None
    changed: bool


def tag_image(
    store: ImageStore, selector: str, tags: Iterable[str], *, move: bool = False
) -> tuple[str, bool]:
    """Give an image further tags. All are checked before the first is written.

    :param selector: tag or digest of the image.
    :param move: let tags that name another digest move (never content, date and ledger tags).
    :return: digest, and whether anything was written.
    :raises ImageNotFound: no such image.
    :raises ImageTagConflict: a tag names another digest and does not move.
    """
    wanted_tags = [check_tag(tag) for tag in tags]
    manifest = store.get_manifest(selector)
    missing = [
        tag
        for tag in wanted_tags
        if must_write(store.repository, tag, wanted=manifest.digest, present=store.digest_of(tag), move=move)
    ]
    for tag in missing:
        _write_tag(store, manifest, tag)
    return manifest.digest, bool(missing)


def promote(store: ImageStore, selector: str, channel: str, *, now: datetime | None = None) -> Promoted:
    """Make an image the one that the channel names.

    A promotion that was cut off between ledger and channel is continued with its ledger tag. An image that
    was put live by other means, without a ledger tag, first gets one, so that there is a way back to it.

    :param now: moment of the promotion; the clock's by default.
    :raises ImageNotFound: no such image.
    """
    check_channel(channel)
    manifest = store.get_manifest(selector)
    current = store.digest_of(channel)
    entries = promotions(store.tags(), channel)
    newest = store.digest_of(entries[0].tag) if entries else None
    moment = now or datetime.now(UTC)
    if current is not None and current != manifest.digest and current != newest and newest != manifest.digest:
        tag = next_tag(entries, channel, moment)
        _write_tag(store, store.get_manifest(current), tag)
        entries = promotions([tag, *(entry.tag for entry in entries)], channel)
    if entries and newest == manifest.digest:
        tag = entries[0].tag
    else:
        tag = next_tag(entries, channel, moment)
        _write_tag(store, manifest, tag)
    if current != manifest.digest:
        _write_tag(store, manifest, channel)
    return Promoted(manifest.digest, tag, current, changed=current != manifest.digest)


def rollback_target(store: ImageStore, channel: str, to: str) -> str:
    """Digest to go back to.

    :param to: ``"previous"`` (newest entry of the channel's ledger that names another image than the
        channel does now), a tag or a digest.
    :raises NoPreviousImage: the ledger names no other image.
    :raises ImageNotFound: no such tag or digest.
    """
    check_channel(channel)
    if to != "previous":
        digest = store.digest_of(to if is_digest(to) else check_tag(to))
        if digest is None:
            raise ImageNotFound(
                f"Image {store.repository}{'@' if is_digest(to) else ':'}{to} is not there",
                repository=store.repository,
                selector=to,
            )
        return digest
    found = previous(promotions(store.tags(), channel), store.digest_of(channel), store.digest_of)
    if found is None:
        raise NoPreviousImage(
            f"Channel {channel!r} of {store.repository} was never anything else",
            repository=store.repository,
            channel=channel,
        )
    return found[1]


def roll_back(store: ImageStore, channel: str, to: str, *, key: str, now: datetime | None = None) -> Promoted:
    """Promote the image to go back to.

    What ``"previous"`` means changes as soon as the channel moves. So the choice is kept as a tag before
    anything moves, and whoever comes back with the same ``key`` goes on with it.

    :param to: see :func:`rollback_target`.
    :param key: 16 hex digits, the same for every try of one rollback.
    """
    if to != "previous":
        return promote(store, rollback_target(store, channel, to), channel, now=now)
    kept = rollback_tag(channel, key)
    target = store.digest_of(kept)
    if target is None:
        target = rollback_target(store, channel, to)
        _write_tag(store, store.get_manifest(target), kept)
    return promote(store, target, channel, now=now)


def _write_tag(store: ImageStore, manifest: Manifest, tag: str) -> None:
    # No registry has a conditional PUT, so what arrived is looked at again.
    store.put_manifest(manifest, tag)
    kept = store.digest_of(tag)
    if kept != manifest.digest:
        raise DigestMismatch(
            f"Tag {store.repository}:{tag} names {kept} right after {manifest.digest} was written",
            next_step="Somebody else writes this tag at the same time: let one task at a time promote a channel.",
        )
