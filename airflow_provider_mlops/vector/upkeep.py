"""Care for an index between its runs: audit, rollback, garbage collection. One writer at a time, like a run."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_mlops.vector.audit import audit
from airflow_provider_mlops.vector.damage import AuditReport, damaged
from airflow_provider_mlops.vector.errors import ActivationFailed, VersionIncomplete, VersionMissing
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Store, Version
from airflow_provider_mlops.vector.sync_plan import garbage, version_before

log = logging.getLogger(__name__)

OnDamage = Literal["fail", "report", "heal"]


@dataclass(frozen=True, slots=True)
class Care:
    """What was done: the version that was looked at, the one that was live before, what is (or would be) dropped."""

    version: Version | None
    previous: Version | None
    audit: AuditReport | None = None
    dropped: list[str] = field(default_factory=list)


def look_over(
    index: VectorIndex,
    store: Store,
    holder: str,
    *,
    version: str | None,
    sample: int | None,
    on_damage: OnDamage,
) -> Care:
    """Audit a version, by default the live one.

    :raises VersionMissing: there is none of that name, or none is live.
    :raises IndexDamaged: it is damaged, unless ``on_damage`` is ``report``.
    :raises IndexBusy: a run holds the index.
    """
    _check_there(index.name, store)
    with store.lease(holder) as lease:
        live = store.live()
        if version is None and live is None:
            raise VersionMissing(f"Index {index.name!r} has no live version")
        name = version or (live.name if live else "")
        chosen = _named(store, name)
        if chosen is None and live and live.name == name:
            report = AuditReport(name, "gone", live=True, unclean=lease.unclean)
            chosen = live
        elif chosen is None:
            raise _missing(index.name, name, store)
        else:
            alike = chosen.fingerprint8 == index.fingerprint()[:8]
            layout = index.layout() if alike else None
            healing = on_damage == "heal"
            report = audit(index.name, store, chosen, lease, layout=layout, sample=sample, healing=healing)
    log.info("Index %s: version %s: %s", index.name, name, "; ".join(report.problems()) or "no damage")
    if report.problems() and on_damage != "report":
        raise damaged(index.name, report)
    return Care(chosen, live, report)


def roll_back(
    index: VectorIndex,
    store: Store,
    holder: str,
    *,
    version: str | None,
    sample: int | None,
    on_damage: OnDamage,
) -> Care:
    """Make an earlier version live, by default the one before the live one, after looking it over.

    :raises VersionMissing: there is none of that name, or none before the live one.
    :raises VersionIncomplete: it was never finished, or its gate rejected it.
    :raises IndexDamaged: it is damaged, unless ``on_damage`` is ``report``; the live version stays.
    :raises ActivationFailed: the store did not switch.
    :raises IndexBusy: a run holds the index.
    """
    _check_there(index.name, store)
    with store.lease(holder) as lease:
        live, versions = store.live(), store.versions()
        if version is None:
            chosen = version_before(versions, live)
            if chosen is None:
                raise VersionMissing(
                    f"Index {index.name!r}: no finished version is older than the live one "
                    f"({live.name if live else 'there is none'})"
                )
        else:
            chosen = _named(store, version)
            if chosen is None:
                raise _missing(index.name, version, store)
        if chosen.state != "built":
            raise VersionIncomplete(
                f"Index {index.name!r}: version {chosen.name} is {chosen.state}, not finished"
            )
        report = audit(index.name, store, chosen, lease, layout=None, sample=sample)
        if report.problems() and on_damage != "report":
            raise damaged(index.name, report)
        lease.renew()
        store.activate(chosen.name)
        now = store.live()
        if now is None or now.name != chosen.name:
            raise ActivationFailed(f"Index {index.name!r}: {chosen.name} was made live, and is not")
        report.live = True
        log.info("Index %s: live is %s, was %s", index.name, chosen.name, live.name if live else "none")
        return Care(chosen, live, report)


def collect_garbage(index: VectorIndex, store: Store, holder: str, *, keep: int, dry_run: bool) -> Care:
    """Drop versions that nobody needs: see :func:`.sync_plan.garbage`.

    :param keep: how many finished versions stay.
    :param dry_run: only list them; nothing is written, not even a lease.
    :raises IndexBusy: a run holds the index, and may be building one of them.
    """
    if dry_run or not store.versions():
        live = store.live()
        return Care(
            live, live, dropped=[old.name for old in garbage(store.versions(), live, store.pinned(), keep)]
        )
    with store.lease(holder) as lease:
        live = store.live()
        dropped = []
        for old in garbage(store.versions(), live, store.pinned(), keep):
            log.info("Index %s: dropping %s version %s", index.name, old.state, old.name)
            lease.renew()
            store.drop(old.name)
            dropped.append(old.name)
        return Care(live, live, dropped=dropped)


def _check_there(index: str, store: Store) -> None:
    """A lease of an index that nobody built would be the first trace of it."""
    if not store.versions() and not store.live():
        raise VersionMissing(f"Index {index!r} has no version: it was never built here")


def _named(store: Store, name: str) -> Version | None:
    return next((version for version in store.versions() if version.name == name), None)


def _missing(index: str, name: str, store: Store) -> VersionMissing:
    names = ", ".join(version.name for version in store.versions()) or "none at all"
    return VersionMissing(f"Index {index!r} has no version {name!r}; there are: {names}")
