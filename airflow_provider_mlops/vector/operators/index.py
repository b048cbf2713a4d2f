"""The index task. The work is in :mod:`airflow_provider_mlops.vector.indexing`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator, product_field
from airflow_provider_mlops.compat import Context, ObjectStoragePath
from airflow_provider_mlops.errors import InvalidArgument, StorageUnwritable
from airflow_provider_mlops.payloads import SCHEMA, VectorIndexPayload, VectorPlanPayload
from airflow_provider_mlops.vector.activate import KIND
from airflow_provider_mlops.vector.budget import Budget
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import GoldenQueriesInvalid
from airflow_provider_mlops.vector.gate import Gate, GoldenQuery, parse_golden
from airflow_provider_mlops.vector.hook import located
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.operators.common import check_numpy, lease_holder, opened_source, row_maker
from airflow_provider_mlops.vector.operators.lineage import IndexLineage, noting
from airflow_provider_mlops.vector.preloaded import Gathered, gather
from airflow_provider_mlops.vector.preview import Preview, preview
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.survey import DeadLetters
from airflow_provider_mlops.vector.sync_plan import Mode, fuse_problem

#: What the event of the index's asset says; where the index is stays in the payload.
_EVENT = (
    "version",
    "previous_version",
    "active",
    "action",
    "fingerprint",
    "documents",
    "chunks",
    "added",
    "updated",
    "deleted",
    "unchanged",
    "bad",
    "embedded",
    "cached",
    "tokens",
    "cost",
    "gate",
    "duration",
)


class VectorIndexOperator(IndexLineage, MlopsOperator):
    """Bring a vector index to the state of a source, judge it, and make it live.

    Only chunks that are new get embedded. Readers see the old version or the new one; a killed task leaves
    the live version whole, and its retry goes on where it stopped. Returns a
    :class:`~airflow_provider_mlops.payloads.VectorIndexPayload`.

    An outlet ``Asset("vectorindex://<name>")`` gets an event with the version, the counts and the gate's report.

    In LanceDB every change is a new version. In Weaviate a change with ``gate`` or with ``activate=False`` is
    built beside the live version, which copies all vectors, but embeds only new chunks; without both it is
    written into the live version: new chunks first, and stale ones go when all of them are acknowledged.

    :param index: the index.
    :param source: URI, path or list of them (``*`` and ``**`` are expanded) of JSON Lines, Parquet, Arrow or
        text files; the output of a task that has one under ``uri``; a
        :class:`~airflow_provider_mlops.vector.SqlSource`; or
        :class:`~airflow_provider_mlops.vector.Records` (templated). It is read twice.
    :param mode: ``auto`` writes only differences if a version with the same fingerprint is there, else
        everything; ``sync`` fails instead of doing the latter; ``rebuild`` always does.
    :param gate: golden queries that a new version has to answer well enough. Its file is templated
        (as ``golden``).
    :param activate: make the version live. With ``False`` a release does it later, with this task's output.
    :param max_delete_fraction: share of the indexed documents, 0 to 1, that may vanish in one run.
    :param max_bad_fraction: share of the source's records, 0 to 1, that may be unusable (undecodable, without
        key or text, repeated key, property of the wrong type) and are then left out.
    :param dead_letters: URI of a file that gets the unusable records, one JSON object per line, replaced by
        each try that has any (templated).
    :param embedding_cache: path of an SQLite file on the worker's disk (or ``file://`` URI) that keeps
        embeddings for later tries and rebuilds; default none (templated).
    :param max_tokens: cap on the tokens that one run may send to a paid embedder. What is new is counted before
        the first text is sent, which reads the source once more; what is cached or unchanged costs nothing.
    :param max_cost: the same as a price, where the embedder has a ``price_per_1k_tokens``.
    :param batch_size: chunks that are embedded and written at a time.
    :param loaded: output of a :class:`VectorShardOperator`, or of the plan alone where other programs loaded: the
        run goes on with the version that they filled, finishes it, and counts what they spent as its own (templated).
    :param dry_run: return a :class:`~airflow_provider_mlops.payloads.VectorPlanPayload` instead: what a run would do
        and why, with documents, chunks, tokens and cost, and what would refuse it. Nothing is written: no lease, no
        dead letters, no embedding. The source is read twice.
    :raises SourceEmpty, TooManyBadRecords, TooManyDeletes, EmbeddingBudgetExceeded: nothing was written.
    :raises SourceUnreadable: the source broke off; nothing was deleted.
    :raises GateRejected: the new version is not good enough; the live one stays.
    :raises IndexBusy: another task writes this index; a retry may find it free.
    """

    template_fields: Sequence[str] = ("source", "golden", "dead_letters", "embedding_cache", "loaded")

    def __init__(
        self,
        *,
        index: VectorIndex,
        source: Any,
        mode: Mode = "auto",
        gate: Gate | None = None,
        activate: bool = True,
        max_delete_fraction: float = 0.2,
        max_bad_fraction: float = 0.0,
        dead_letters: str | None = None,
        embedding_cache: str | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        batch_size: int = 2000,
        loaded: Any = None,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index = index
        self.source = source
        self.mode = mode
        self.gate = gate
        # A field of its own, so that Airflow renders it and sees whose output it is.
        self.golden = gate.queries if gate else None
        self.activate = activate
        self.max_delete_fraction = max_delete_fraction
        self.max_bad_fraction = max_bad_fraction
        self.dead_letters = dead_letters
        self.embedding_cache = embedding_cache
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.batch_size = batch_size
        self.loaded = loaded
        # Airflow's operators have a method of the argument's name.
        self.plan_only = dry_run

    @noting
    def execute(self, context: Context) -> VectorIndexPayload | VectorPlanPayload:
        """Survey, write, verify, judge, make live."""
        self._check_arguments()
        index = located(self.index)
        source = opened_source(index, self.source)
        gathered = self._gathered()
        options = RunOptions(
            mode=gathered.mode if gathered else self.mode,
            activate=self.activate,
            gate=(self.gate, self._golden()) if self.gate else None,
            max_delete_fraction=self.max_delete_fraction,
            max_bad_fraction=self.max_bad_fraction,
            batch_size=self.batch_size,
            preloaded=gathered.preloaded if gathered else None,
        )
        holder = gathered.holder if gathered else lease_holder(context)
        store = open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connection_info
        )
        if self.plan_only:
            with self._maker(index) as maker, store as opened:
                seen = preview(index, source, opened, maker, options, lambda record, problem: None)
            return self._plan(index, seen)
        with closing(self._letters()) as letters, self._maker(index) as maker, store as opened:
            outcome = run(index, source, opened, maker, options, holder=holder, on_bad=letters)
        payload = self._payload(index, outcome, maker, letters.used)
        if gathered:
            spent: Any = gathered.added_to(payload)
            payload.update(spent)
        self._describe_assets(context, payload)
        return payload

    def _check_arguments(self) -> None:
        check_numpy()
        problem = fuse_problem(self.mode, self.max_delete_fraction, self.max_bad_fraction)
        if self.batch_size < 1:
            problem = f"batch_size is {self.batch_size}, the least is 1"
        elif self.loaded is not None and (self.mode != "auto" or self.plan_only):
            problem = "with loaded, the plan's task has the mode, and there is no dry_run"
        if problem:
            raise InvalidArgument(f"Index {self.index.name!r}: {problem}")

    def _gathered(self) -> Gathered | None:
        if self.loaded is None:
            return None
        gathered = gather(self.index.name, self.loaded)
        if gathered.absent:
            self.log.info(
                "Index %s: %d shards have not said that they loaded their part: what is missing is loaded here",
                self.index.name,
                len(gathered.absent),
            )
        return gathered

    def _golden(self) -> list[GoldenQuery]:
        name = product_field(self.golden, "uri", argument="gate")
        path = ObjectStoragePath(name)
        try:
            queries = parse_golden(path.read_bytes().splitlines(), path.name)
        except FileNotFoundError as error:
            raise GoldenQueriesInvalid(f"Golden queries {name!r}: no such file") from error
        if self.gate:
            self.gate.check_queries(len(queries))
        return queries

    def _letters(self) -> DeadLetters:
        if self.dead_letters is None:
            return DeadLetters(None)
        path = ObjectStoragePath(self.dead_letters)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnwritable(f"dead_letters: {self.dead_letters!r}: {error}") from error
        return DeadLetters(path)

    def _maker(self, index: VectorIndex) -> AbstractContextManager[RowMaker]:
        budget = Budget(self.max_tokens, self.max_cost)
        return row_maker(index, self.embedding_cache, budget, only_read=self.plan_only)

    def _plan(self, index: VectorIndex, seen: Preview) -> VectorPlanPayload:
        self.log.info("Index %s would be %s: %s", index.name, seen.action, seen.reason)
        for refusal in seen.refusals:
            self.log.warning("Index %s: the run would be refused: %s", index.name, refusal)
        return {
            "schema": SCHEMA,
            "kind": "vector.plan",
            "index": index.name,
            "backend": index.backend,
            "conn_id": index.connection,
            "uri": index.uri,
            "action": seen.action,
            "reason": seen.reason,
            "version": seen.version,
            "base_version": seen.base,
            "live_version": seen.live,
            "in_place": seen.in_place,
            "fingerprint": index.fingerprint(),
            "documents": seen.survey.documents,
            "documents_new": seen.documents.new,
            "documents_changed": seen.documents.changed,
            "documents_deleted": seen.documents.deleted,
            "documents_unchanged": seen.documents.unchanged,
            "chunks": seen.survey.chunks,
            "added": seen.plan.added,
            "updated": seen.plan.updated,
            "deleted": seen.plan.deleted,
            "unchanged": seen.plan.unchanged,
            "bad": seen.survey.bad,
            "to_embed": seen.estimate.texts,
            "tokens": seen.estimate.tokens,
            "cost": seen.estimate.cost,
            "refusals": seen.refusals,
        }

    def _describe_assets(self, context: Context, payload: VectorIndexPayload) -> None:
        # Airflow writes the name of an asset in lower case where the URI has a host.
        wanted = f"vectorindex://{payload['index']}".lower()
        for outlet in self.outlets:
            if str(getattr(outlet, "uri", "")).lower() == wanted:
                said: dict[str, Any] = {key: value for key, value in payload.items() if key in _EVENT}
                context["outlet_events"][outlet].extra = said

    def _payload(
        self, index: VectorIndex, outcome: Outcome, maker: RowMaker, dead_letters: bool
    ) -> VectorIndexPayload:
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "index": index.name,
            "backend": index.backend,
            "conn_id": index.connection,
            "uri": index.uri,
            "version": outcome.version.name,
            "physical": outcome.version.physical,
            "previous_version": outcome.previous,
            "active": outcome.active,
            "action": outcome.action,
            "fingerprint": index.fingerprint(),
            "documents": outcome.survey.documents,
            "chunks": outcome.survey.chunks,
            "added": outcome.plan.added,
            "updated": outcome.plan.updated,
            "deleted": outcome.plan.deleted,
            "unchanged": outcome.plan.unchanged,
            "bad": outcome.survey.bad,
            "embedded": maker.embedded,
            "cached": maker.cached,
            "tokens": maker.tokens,
            "cost": maker.cost,
            "healed": outcome.healed,
            "dead_letters": self.dead_letters if dead_letters else None,
            "gate": outcome.gate.to_json() if outcome.gate else None,
            "duration": round(outcome.seconds, 3),
        }
