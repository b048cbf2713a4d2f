"""What changed between two releases. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_mlops.release.record import ReleaseRecord


@dataclass(frozen=True, slots=True)
class Change:
    """One part that is not the same: ``before`` is ``None`` for a part that is new, ``after`` for one that went."""

    part: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.part}: {self.before or '(none)'} -> {self.after or '(none)'}"


def diff(before: ReleaseRecord | None, after: ReleaseRecord) -> list[Change]:
    """Parts whose identity differs, by name; of a first release, all of them."""
    old = before.identities if before else {}
    new = after.identities
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
