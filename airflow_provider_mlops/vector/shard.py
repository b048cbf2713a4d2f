"""A part of a source, chunked, embedded and written into an unfinished version: on any worker, with or without Airflow.

Shards only load ahead: they delete nothing, finish nothing, and make nothing live. The run that comes after them
compares everything with the whole source, so a shard that was killed, or never ran, costs time and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.budget import Budget
from airflow_provider_mlops.vector.documents import Chunk, DocumentReader, UnusableRecord
from airflow_provider_mlops.vector.embedders import connected
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.functions import check_function_name, load_function
from airflow_provider_mlops.vector.outbox import Outbox
from airflow_provider_mlops.vector.shard_plan import ShardPlan
from airflow_provider_mlops.vector.sources import SourceRecord
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.verify import heal, mend

if TYPE_CHECKING:
    import pyarrow as pa

_PROVIDER = "Connections of"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of some records.

    :param documents: usable ones.
    :param chunks: that these have; all of them are in the version now.
    :param written: of these, how many were not there before.
    :param embedded: texts that were embedded.
    :param cached: chunks whose vector was at hand.
    :param healed: chunks that were written, but not found, and are now: see :class:`Outcome`.
    :param bad: unusable records; the run that finishes judges them.
    :param smooth: every write was confirmed at once.
    :param tokens: that a paid embedder was sent; ``None`` where there is no such thing.
    :param cost: of these.
    """

    documents: int = 0
    chunks: int = 0
    written: int = 0
    embedded: int = 0
    cached: int = 0
    healed: int = 0
    bad: int = 0
    smooth: bool = True
    tokens: int | None = None
    cost: float | None = None


class _Everything:
    """A version that may hold any chunk; asking it is the way to find out."""

    def __contains__(self, chunk: object) -> bool:
        return True


class Loader:
    """Loads records into the version of a plan, as often as it is called.

    :param index: with its embedder ready to embed.
    :param store: of the index.
    :param plan: there is something to load by it.
    :param maker: of the index's embedder.
    :param batch_size: chunks per batch.
    :raises InvalidArgument: the index is not the one that was planned.
    :raises IndexBusy: the plan is over.
    """

    def __init__(
        self, index: VectorIndex, store: Store, plan: ShardPlan, maker: RowMaker, batch_size: int
    ) -> None:
        if index.name != plan.index or index.fingerprint() != plan.fingerprint:
            raise InvalidArgument(
                f"Index {index.name!r}: the plan is for index {plan.index!r} with the fingerprint {plan.fingerprint[:8]}",
                next_step="Declare the index once, and give it to the plan, its shards and the index task.",
            )
        if plan.token is None:
            raise InvalidArgument(f"Index {index.name!r}: the plan found nothing to load")
        self._index, self._maker, self._batch_size = index, maker, batch_size
        # The lease comes first: a version whose plan is over may be finished, or gone.
        self._lease = store.join(plan.token)
        self._build = store.resume(plan.version)
        if plan.base:
            maker.reuse(store.read(plan.base), _Everything())
        self._documents = self._bad = 0

    def load(self, records: Iterable[SourceRecord]) -> Loaded:
        """Chunk, embed, write, have every write confirmed, and look every chunk up.

        :raises EmbeddingBudgetExceeded: the next texts would pass a cap; what was written before stays.
        :raises ObjectsRefused, WritesUnconfirmed, ChunksUnfindable: as in a run.
        :raises IndexBusy: the plan is over: the run has begun to finish, or another one has taken over.
        """
        maker = self._maker
        self._documents = self._bad = 0
        embedded, cached, tokens, cost = maker.embedded, maker.cached, maker.tokens, maker.cost
        chunks = written = healed = 0
        with Outbox(self._build, self._lease) as outbox:
            for batch in batches(self._chunks(records), self._batch_size):
                self._lease.renew()
                # A document that comes twice in a batch counts once, as its first.
                wanted = {chunk.id: chunk for chunk in reversed(batch)}
                held = self._build.digests(list(wanted))
                for lacking in (True, False):
                    part = [
                        chunk
                        for chunk in wanted.values()
                        if held.get(chunk.id) != chunk.digest and (chunk.id not in held) is lacking
                    ]
                    if part:
                        outbox.send(maker.rows(part), lacking=lacking)
                        written += len(part)
                # Every batch for itself: the next one, or the next try, has to see what is there.
                outbox.flush()
                # Those too that were there: an earlier try may have been killed before it looked.
                healed += mend(self._build, wanted, self._lease, own=wanted)
                healed += heal(self._build, wanted, self._lease)
                chunks += len(wanted)
        return Loaded(
            documents=self._documents,
            chunks=chunks,
            written=written,
            embedded=maker.embedded - embedded,
            cached=maker.cached - cached,
            healed=healed,
            bad=self._bad,
            smooth=outbox.smooth,
            tokens=None if maker.tokens is None else maker.tokens - (tokens or 0),
            cost=None if maker.cost is None else maker.cost - (cost or 0.0),
        )

    def _chunks(self, records: Iterable[SourceRecord]) -> Iterator[Chunk]:
        chunks_of = DocumentReader(self._index).chunks
        for record in records:
            try:
                chunks = chunks_of(record.checked())
            except UnusableRecord:
                self._bad += 1
                continue
            self._documents += 1
            yield from chunks


class ShardStage:
    """The shard as one object for Spark, Ray Data, or any other way to run Python on many machines.

    It can be pickled, and holds no secret: connections are looked up where it runs.

    :param index: the index, or its JSON. A model on disk is named by a path that all machines have.
    :param plan: output of the plan task.
    :param connections: ``package.module:function`` that gives the
        :class:`~airflow_provider_mlops.connection.ConnectionInfo` of a connection id; by default they come from the
        variables ``AIRFLOW_CONN_<ID>`` of the environment.
    :param batch_size: chunks that are embedded and written at a time.
    :param max_tokens: cap on the tokens that one process sends to a paid embedder.
    :param max_cost: the same as a price.
    :raises InvalidArgument: one of these is not as said.
    """

    #: Columns of what comes back for each batch, as Spark reads them; see :class:`Loaded`.
    schema = (
        "documents long, chunks long, written long, embedded long, cached long, healed long, bad long, "
        "smooth boolean, tokens long, cost double"
    )

    def __init__(
        self,
        index: VectorIndex | Mapping[str, Any],
        plan: Mapping[str, Any],
        *,
        connections: str = "airflow_provider_mlops.vector.environment:connection_from_environment",
        batch_size: int = 2000,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        check_function_name(connections, _PROVIDER)
        if batch_size < 1:
            raise InvalidArgument(f"batch_size is {batch_size}, the least is 1")
        declared = index if isinstance(index, VectorIndex) else VectorIndex.from_json(index)
        self._plan = ShardPlan.from_payload(plan)
        if declared.backend == "lancedb" and not declared.conn_id:
            # The default place is known to Airflow's configuration only.
            declared = replace(declared, uri=plan["uri"])
        self._index = json.dumps(declared.to_json())
        self._connections, self._batch_size = connections, batch_size
        self._budget = Budget(max_tokens, max_cost)
        self._open: tuple[ExitStack, Loader] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def run(self, records: Iterable[SourceRecord]) -> Loaded:
        """Load records. The store is opened by the first call, and stays open until :meth:`close`.

        Errors: see :meth:`Loader.load`.
        """
        if self._plan.token is None:
            return Loaded()
        if self._open is None:
            self._open = self._opened()
        return self._open[1].load(records)

    def _opened(self) -> tuple[ExitStack, Loader]:
        connections = load_function(self._connections, _PROVIDER)
        index = VectorIndex.from_json(json.loads(self._index))
        index = replace(index, embedder=connected(index.embedder, connections))
        maker = RowMaker(index.embedder, None, self._budget, index.vectors)
        opening = open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connections
        )
        stack = ExitStack()
        store = stack.enter_context(opening)
        try:
            return stack, Loader(index, store, self._plan, maker, self._batch_size)
        except BaseException:
            stack.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        if self._open is not None:
            stack, _ = self._open
            self._open = None
            stack.close()

    def map_in_arrow(self, parts: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """For ``DataFrame.mapInArrow(stage.map_in_arrow, stage.schema)``: one row of counts per batch."""
        try:
            for batch in parts:
                yield from self(batch).to_batches()
        finally:
            self.close()

    def __call__(self, batch: pa.Table | pa.RecordBatch) -> pa.Table:
        """For ``Dataset.map_batches``: one row of counts, see :attr:`schema`.

        :param batch: one document per row, with the columns that the index reads.
        """
        import pyarrow as pa

        from airflow_provider_mlops.vector.sources.arrow_files import arrow_rows

        parts = batch.to_batches() if isinstance(batch, pa.Table) else [batch]
        rows = (row for part in parts for row in arrow_rows(part))
        loaded = self.run(SourceRecord(f"row {number}", row) for number, row in enumerate(rows, start=1))
        types = {"long": pa.int64(), "boolean": pa.bool_(), "double": pa.float64()}
        columns = (column.split() for column in self.schema.split(", "))
        schema = pa.schema([(name, types[kind]) for name, kind in columns])
        return pa.Table.from_pylist([asdict(loaded)], schema=schema)
