"""Before shards load an index: look what there is to do, open a version for them, and leave the lease to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import IndexBusy, WritesUnconfirmed
from airflow_provider_mlops.vector.indexing import RunOptions
from airflow_provider_mlops.vector.preloaded import PLAN_KIND
from airflow_provider_mlops.vector.preview import Preview, preview
from airflow_provider_mlops.vector.sources import Source
from airflow_provider_mlops.vector.sources.parts import By, split_by
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Store, Version, version_name
from airflow_provider_mlops.vector.survey import OnBad
from airflow_provider_mlops.vector.sync_plan import Mode, next_number, unfinished

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What shards have to know; the part of the plan's payload that they work by.

    :param index: name of the index.
    :param fingerprint: of the index; a shard with another one would load what does not belong together.
    :param mode: of the run that finishes.
    :param version: that they fill; or the one that is good as it is.
    :param base: finished version whose vectors are reused.
    :param shards: how many there are.
    :param by: how the source is split.
    :param holder: name in the lease, for the task that finishes.
    :param token: of the lease that they work under; ``None`` if there is nothing to load.
    :param clean: whatever wrote the index last came to its end.
    """

    index: str
    fingerprint: str
    mode: Mode
    version: str
    base: str | None
    shards: int
    by: By
    holder: str
    token: str | None
    clean: bool

    @classmethod
    def from_payload(cls, payload: Any) -> ShardPlan:
        """Out of a :class:`~airflow_provider_mlops.payloads.VectorShardPlanPayload`.

        :raises InvalidArgument: it is something else.
        """
        kind = payload.get("kind") if isinstance(payload, Mapping) else type(payload).__name__
        if kind != PLAN_KIND:
            raise InvalidArgument(
                f"plan is of kind {kind!r}", next_step="Pass the output of a VectorShardPlanOperator."
            )
        return cls(
            index=payload["index"],
            fingerprint=payload["fingerprint"],
            mode=payload["mode"],
            version=payload["version"],
            base=payload["base_version"],
            shards=payload["shards"],
            by=payload["by"],
            holder=payload["holder"],
            token=payload["token"],
            clean=payload["clean"],
        )


def plan_shards(
    index: VectorIndex,
    source: Source,
    store: Store,
    maker: RowMaker,
    options: RunOptions,
    shards: int,
    *,
    holder: str,
    on_bad: OnBad,
) -> tuple[ShardPlan, Preview]:
    """Survey the source, compare it with what there is, and open the version that the shards fill.

    Where there is something to load, the index is marked as being written, and the lease stays with ``holder``: the
    run that finishes takes it over under the same name. What would refuse that run, refuses here.

    :param holder: name in the lease; a retry of the same task uses the same, and goes on with the same version.
    :raises SourceEmpty, TooManyBadRecords, TooManyDeletes, EmbeddingBudgetExceeded: nothing was written.
    :raises IndexBusy: another run holds the index, or has changed it meanwhile.
    """
    before = store.versions(), store.live()
    seen = preview(index, source, store, maker, options, on_bad)
    if seen.refused:
        raise seen.refused[0]
    by = split_by(source, shards)
    fingerprint = index.fingerprint()
    if seen.action == "unchanged":
        log.info("Index %s: nothing to load, %s", index.name, seen.reason)
        return ShardPlan(
            index.name, fingerprint, options.mode, seen.version, None, shards, by, holder, None, True
        ), seen
    with store.lease(holder) as lease:
        versions, live = store.versions(), store.live()
        if (versions, live) != before:
            raise IndexBusy(f"Index {index.name!r}: another run has changed it while it was planned")
        attempt = unfinished(versions, fingerprint)
        if options.mode == "rebuild" and lease.continues is None:
            attempt = None
        lease.writing()
        if attempt:
            store.resume(attempt.name)
        else:
            number = next_number([*versions, live] if live else versions)
            store.begin(version_name(number, fingerprint), index.layout(), seen.base)
        version = _opened(index.name, store, fingerprint)
        log.info(
            "Index %s: %s version %s (base: %s) for %d shards, split by %s",
            index.name,
            "going on with" if attempt else "opened",
            version.name,
            seen.base or "none",
            shards,
            by,
        )
        plan = ShardPlan(
            index.name, fingerprint, options.mode, version.name, seen.base, shards, by, holder, lease.token,
            clean=not lease.unclean,
        )  # fmt: skip
        lease.leave()
    return plan, seen


def _opened(index: str, store: Store, fingerprint: str) -> Version:
    # As the store names it from now on, which is not always what it was begun as.
    version = unfinished(store.versions(), fingerprint)
    if version is None:
        raise WritesUnconfirmed(f"Index {index!r}: the version that was opened is not there")
    return version
