"""What a release is: one identity over all its parts. Pure.

A part is known by its *identity*: a digest, a version or a pinned reference, whatever stays the same when
the same thing is made again and differs when it is another thing. Two releases with the same identities
are the same release, whoever made them and when.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self, cast

from airflow_provider_mlops.release.errors import LedgerCorrupt, PartInvalid

SCHEMA = 1
KIND = "release.record"

Action = Literal["release", "rollback"]

_MOMENT = "%Y%m%d-%H%M%S"
_HASH_SHOWN = 8

#: Kind of payload to the keys that make its identity.
_IDENTITY_KEYS: Mapping[str, tuple[str, ...]] = {
    "bento": ("digest",),
    "oci.image": ("image",),
    "vector.index": ("backend", "index", "version"),
    "gitlab.pipeline": ("project", "sha"),
    "pod": ("result",),
}
#: Of a payload of any other kind, the first of these that it has.
_COMMON_IDENTITIES = ("digest", "sha256", "commit", "version", "uri")


def identity(name: str, part: Any) -> str:
    """Identity of one part, short enough for a log line.

    :param name: role of the part in the release, for messages.
    :param part: a payload, or a text (URI, digest, version) that is its own identity.
    :raises PartInvalid: nothing in it identifies it.
    """
    if isinstance(part, str) and part:
        return part
    if not isinstance(part, Mapping) or not part:
        raise PartInvalid(f"Release part {name!r} is {part!r}")
    keys = _IDENTITY_KEYS.get(str(part.get("kind"))) or next(
        ((key,) for key in _COMMON_IDENTITIES if part.get(key)), ()
    )
    values = [part.get(key) for key in keys]
    if not keys or any(value in (None, "") for value in values):
        wanted = " and ".join(keys or _COMMON_IDENTITIES[:1])
        raise PartInvalid(f"Release part {name!r} of kind {part.get('kind')!r} has no {wanted}")
    return " ".join(value if isinstance(value, str) else canonical(value).decode() for value in values)


def identities(parts: Mapping[str, Any]) -> dict[str, str]:
    """Identity of every part, by name.

    :raises PartInvalid: a part without identity or that is not JSON, or no part at all.
    """
    if not parts:
        raise PartInvalid(
            "The release has no parts", next_step="Pass the outputs of the tasks that make them."
        )
    try:
        canonical(parts)
    except (TypeError, ValueError) as error:
        raise PartInvalid(f"The parts of the release are not JSON: {error}") from error
    return {name: identity(name, parts[name]) for name in sorted(parts)}


def content_hash(found: Mapping[str, str]) -> str:
    """Hash over identities: equal for equal releases."""
    return hashlib.sha256(canonical(found)).hexdigest()


def release_id(moment: datetime, content: str) -> str:
    """``YYYYMMDD-HHMMSS-<8 hex digits>``: sorts by time (UTC), and shows at a glance what is the same."""
    return f"{moment.astimezone(UTC).strftime(_MOMENT)}-{content[:_HASH_SHOWN]}"


def next_moment(now: datetime, newest: str | None) -> datetime:
    """Moment for a new release: always after the newest one, even if a clock runs behind.

    :param newest: id of the newest release.
    """
    moment = now.astimezone(UTC).replace(microsecond=0)
    if newest is None:
        return moment
    last = datetime.strptime(newest.rpartition("-")[0], _MOMENT).replace(tzinfo=UTC)
    return max(moment, last + timedelta(seconds=1))


def canonical(data: Any) -> bytes:
    """JSON with one way of writing things."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One release or rollback, as it stays in the ledger for ever.

    :param created_at: when its first step began, in UTC, as ISO 8601.
    :param parts: the payloads that it was made of, with all that is needed to put it live again.
    :param identities: identity of every part, by name, as it was told when the release was made.
    :param previous_release_id: what was live before.
    :param run: DAG, run and task that made it.
    :param rolled_back_from: for a rollback, the release that was taken back.
    :param restores: for a rollback, the release whose parts are live again.
    """

    release_id: str
    service: str
    channel: str
    created_at: str
    action: Action
    parts: Mapping[str, Any]
    identities: Mapping[str, str]
    previous_release_id: str | None = None
    run: Mapping[str, str] = field(default_factory=dict)
    rolled_back_from: str | None = None
    restores: str | None = None

    @property
    def content(self) -> str:
        """Hash over the identities."""
        return content_hash(self.identities)

    def to_json(self) -> dict[str, Any]:
        """As it is stored; ``content`` is written along for readers."""
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "release_id": self.release_id,
            "service": self.service,
            "channel": self.channel,
            "created_at": self.created_at,
            "action": self.action,
            "content": self.content,
            "identities": dict(self.identities),
            "parts": dict(self.parts),
            "previous_release_id": self.previous_release_id,
            "run": dict(self.run),
            "rolled_back_from": self.rolled_back_from,
            "restores": self.restores,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a stored record.

        :raises LedgerCorrupt: not a record, or of a schema that a newer version of this package wrote.
        """
        if data.get("kind") != KIND or data.get("schema") != SCHEMA:
            raise LedgerCorrupt(
                f"Not a release record of schema {SCHEMA}: kind {data.get('kind')!r}, schema {data.get('schema')!r}",
                next_step="If a newer airflow-provider-mlops wrote it, upgrade this one.",
            )
        try:
            record = cls(
                release_id=data["release_id"],
                service=data["service"],
                channel=data["channel"],
                created_at=data["created_at"],
                action=cast(Action, data["action"]),
                parts=data["parts"],
                identities=data["identities"],
                previous_release_id=data["previous_release_id"],
                run=data["run"],
                rolled_back_from=data["rolled_back_from"],
                restores=data["restores"],
            )
        except KeyError as error:
            raise LedgerCorrupt(f"Release record {data.get('release_id')!r} has no {error}") from error
        if record.content != data.get("content"):
            raise LedgerCorrupt(
                f"Release record {record.release_id!r}: its identities were changed afterwards"
            )
        return record
