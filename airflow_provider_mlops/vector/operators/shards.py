"""Loading an index with many workers: the plan, and the shards that are mapped over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator
from airflow_provider_mlops.compat import Context
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.payloads import SCHEMA, VectorShardPayload, VectorShardPlanPayload
from airflow_provider_mlops.vector.budget import Budget
from airflow_provider_mlops.vector.hook import located
from airflow_provider_mlops.vector.indexing import RunOptions
from airflow_provider_mlops.vector.operators.common import (
    check_numpy,
    lease_holder,
    opened_source,
    row_maker,
)
from airflow_provider_mlops.vector.preloaded import PLAN_KIND, SHARD_KIND
from airflow_provider_mlops.vector.shard import Loaded, Loader
from airflow_provider_mlops.vector.shard_plan import ShardPlan, plan_shards
from airflow_provider_mlops.vector.sources.parts import part_of
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.sync_plan import Mode, fuse_problem


class VectorShardPlanOperator(MlopsOperator):
    """Open a version of an index for shards to load. Returns a
    :class:`~airflow_provider_mlops.payloads.VectorShardPlanPayload`.

    It surveys the source and compares it with the index, as ``VectorIndexOperator(dry_run=True)`` does, and refuses
    what a run would refuse. Where there is something to load it takes the index for this DAG run, up to the
    ``VectorIndexOperator`` that gets ``loaded``; as long as any shard works, no other run gets it.

    Its retry, or a Clear of it, goes on with the same version; shards that still work under the earlier plan fail with
    ``IndexBusy``, and their own retry works under the new one.

    :param index: the index.
    :param source: as in ``VectorIndexOperator`` (templated). It is read twice.
    :param shards: into how many parts the source is split.
    :param mode: as in ``VectorIndexOperator``, which takes it from here.
    :param max_delete_fraction: as in ``VectorIndexOperator``; give both the same.
    :param max_bad_fraction: as in ``VectorIndexOperator``; give both the same.
    :param max_tokens: cap on the tokens that all shards together would send to a paid embedder, by an estimate.
    :param max_cost: the same as a price, where the embedder has a ``price_per_1k_tokens``.
    :raises SourceEmpty, TooManyBadRecords, TooManyDeletes, EmbeddingBudgetExceeded: nothing was written.
    :raises IndexBusy: another task writes this index; a retry may find it free.
    """

    template_fields: Sequence[str] = ("source",)

    def __init__(
        self,
        *,
        index: VectorIndex,
        source: Any,
        shards: int,
        mode: Mode = "auto",
        max_delete_fraction: float = 0.2,
        max_bad_fraction: float = 0.0,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index = index
        self.source = source
        self.shards = shards
        self.mode = mode
        self.max_delete_fraction = max_delete_fraction
        self.max_bad_fraction = max_bad_fraction
        self.max_tokens = max_tokens
        self.max_cost = max_cost

    def execute(self, context: Context) -> VectorShardPlanPayload:
        """Survey, compare, open a version."""
        self._check_arguments()
        index = located(self.index)
        source = opened_source(index, self.source)
        options = RunOptions(
            mode=self.mode,
            # Shards always fill a version that nobody sees yet.
            activate=False,
            max_delete_fraction=self.max_delete_fraction,
            max_bad_fraction=self.max_bad_fraction,
        )
        with (
            row_maker(index, None, Budget(self.max_tokens, self.max_cost)) as maker,
            open_store(
                index.backend,
                index.name,
                conn_id=index.connection,
                uri=index.uri,
                connections=connection_info,
            ) as store,
        ):
            plan, seen = plan_shards(
                index, source, store, maker, options, self.shards,
                holder=lease_holder(context), on_bad=lambda record, problem: None,
            )  # fmt: skip
        return {
            "schema": SCHEMA,
            "kind": PLAN_KIND,
            "index": index.name,
            "backend": index.backend,
            "conn_id": index.connection,
            "uri": index.uri,
            "action": seen.action,
            "reason": seen.reason,
            "mode": plan.mode,
            "version": plan.version,
            "base_version": plan.base,
            "fingerprint": plan.fingerprint,
            "shards": plan.shards,
            "by": plan.by,
            "holder": plan.holder,
            "token": plan.token,
            "clean": plan.clean,
            "documents": seen.survey.documents,
            "chunks": seen.survey.chunks,
            "bad": seen.survey.bad,
            "to_embed": seen.estimate.texts,
            "tokens": seen.estimate.tokens,
            "cost": seen.estimate.cost,
        }

    def _check_arguments(self) -> None:
        check_numpy()
        problem = fuse_problem(self.mode, self.max_delete_fraction, self.max_bad_fraction)
        if self.shards < 1:
            problem = f"shards is {self.shards}, the least is 1"
        if problem:
            raise InvalidArgument(f"Index {self.index.name!r}: {problem}")


class VectorShardOperator(MlopsOperator):
    """Load one part of a source into the version that the plan opened: map it over ``shard=list(range(N))``.

    Nothing that readers see changes, and nothing is deleted. A shard that is killed and tried again embeds what is not
    there yet. Returns a :class:`~airflow_provider_mlops.payloads.VectorShardPayload`.

    :param index: the index, the same as in the plan.
    :param source: the source, the same as in the plan (templated). Where it is split by key, each shard reads all of
        it, but chunks and embeds only its own part.
    :param plan: output of the :class:`VectorShardPlanOperator` (templated).
    :param shard: which part, from 0.
    :param embedding_cache: as in ``VectorIndexOperator``; shards on one machine may share the file (templated).
    :param max_tokens: cap on the tokens that one try of this shard may send to a paid embedder. All together may
        send as many times that as there are shards and tries; what bounds the whole is the plan's cap.
    :param max_cost: the same as a price.
    :param batch_size: chunks that are embedded and written at a time.
    :raises EmbeddingBudgetExceeded: the next texts would pass a cap; what was loaded before stays.
    :raises IndexBusy: the plan is over: it was made anew, the index task has begun, or another run has taken over.
    """

    template_fields: Sequence[str] = ("source", "plan", "embedding_cache")

    def __init__(
        self,
        *,
        index: VectorIndex,
        source: Any,
        plan: Any,
        shard: int,
        embedding_cache: str | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        batch_size: int = 2000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index = index
        self.source = source
        self.plan = plan
        self.shard = shard
        self.embedding_cache = embedding_cache
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.batch_size = batch_size

    def execute(self, context: Context) -> VectorShardPayload:
        """Load the part."""
        check_numpy()
        plan = ShardPlan.from_payload(self.plan)
        if self.batch_size < 1:
            raise InvalidArgument(f"Index {plan.index!r}: batch_size is {self.batch_size}, the least is 1")
        if not 0 <= self.shard < plan.shards:
            raise InvalidArgument(
                f"Index {plan.index!r}: shard is {self.shard}, and the plan is for {plan.shards}, from 0",
                next_step="Map the task over list(range(shards)).",
            )
        if plan.token is None:
            self.log.info("Index %s: the plan found nothing to load", plan.index)
            loaded = Loaded()
        else:
            loaded = self._load(plan)
            self.log.info("Index %s: shard %d: %s", plan.index, self.shard, loaded)
        smooth = loaded.smooth and context["ti"].try_number == 1
        return {
            "schema": SCHEMA,
            "kind": SHARD_KIND,
            "index": plan.index,
            "version": plan.version,
            "mode": plan.mode,
            "holder": plan.holder,
            "token": plan.token,
            "clean": plan.clean,
            "shard": self.shard,
            "shards": plan.shards,
            "documents": loaded.documents,
            "chunks": loaded.chunks,
            "written": loaded.written,
            "embedded": loaded.embedded,
            "cached": loaded.cached,
            "healed": loaded.healed,
            "bad": loaded.bad,
            "smooth": smooth,
            "tokens": loaded.tokens,
            "cost": loaded.cost,
        }

    def _load(self, plan: ShardPlan) -> Loaded:
        index = located(self.index)
        part = part_of(index, opened_source(index, self.source), plan.by, self.shard, plan.shards)
        with (
            row_maker(index, self.embedding_cache, Budget(self.max_tokens, self.max_cost)) as maker,
            open_store(
                index.backend,
                index.name,
                conn_id=index.connection,
                uri=index.uri,
                connections=connection_info,
            ) as store,
        ):
            return Loader(index, store, plan, maker, self.batch_size).load(part.records())
