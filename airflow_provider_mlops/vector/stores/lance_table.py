"""LanceDB: one version of an index, which is one commit of its table, for reading; and the head, for writing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.errors import (
    TenantMissing,
)
from airflow_provider_mlops.vector.stores.base import (
    Hit,
    Layout,
    Row,
    Version,
    Written,
)
from airflow_provider_mlops.vector.stores.lance_errors import translated
from airflow_provider_mlops.vector.stores.lance_query import best, nearest, sql
from airflow_provider_mlops.vector.stores.lance_rows import (
    id_conditions,
    is_vector,
    layout_problems,
    of_tenant,
    table_meta,
    vector_column,
    vectors_of,
)
from airflow_provider_mlops.vector.stores.lance_rules import REJECTED
from airflow_provider_mlops.vector.stores.lance_upkeep import upkeep
from airflow_provider_mlops.vector.stores.lance_writer import LanceWriter

if TYPE_CHECKING:
    import numpy as np

    from airflow_provider_mlops.vector.filters import Condition


class LanceSnapshot:
    """One version, for reading. See :class:`~airflow_provider_mlops.vector.stores.base.Snapshot`."""

    def __init__(self, table: Any, index: str) -> None:
        self._opened = table
        self._index = index
        self._meta = table_meta(table)

    @property
    def _table(self) -> Any:
        return self._opened

    def count(self) -> int:
        """Number of chunks."""
        with translated(self._index):
            return int(self._table.count_rows())

    def scan(self) -> Iterator[tuple[str, str, str]]:
        """Every chunk as (id, document key, digest)."""
        columns = ["id", "doc", "digest"]
        with translated(self._index):
            for batch in self._table.search().select(columns).to_batches():
                yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of the chunks that exist, by id."""
        import numpy as np

        found: dict[str, Row] = {}
        for condition in id_conditions(ids):
            with translated(self._index):
                table = self._table.search().where(condition).to_arrow()
            column = table["vector"].combine_chunks()
            vectors = column.flatten().to_numpy().reshape(table.num_rows, column.type.list_size)
            names = [field.name for field in table.schema if is_vector(field)]
            named = {name: vectors_of(table[vector_column(name)]) for name in self._meta["vectors"]}
            for place, row in enumerate(table.drop_columns(names).to_pylist()):
                more = {name: vector for name, found in named.items() if (vector := found[place]) is not None}
                fixed = {name: row.pop(name) for name in ("id", "doc", "ordinal", "digest", "text")}
                row.pop("tenant", None)
                found[fixed["id"]] = Row(**fixed, properties=row, vector=np.array(vectors[place]), more=more)
        return found

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """Digests of those of the chunks that exist, by id."""
        found: dict[str, str] = {}
        for condition in id_conditions(ids):
            with translated(self._index):
                table = self._table.search().where(condition).select(["id", "digest"]).to_arrow()
            found.update(zip(table["id"].to_pylist(), table["digest"].to_pylist(), strict=True))
        return found

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        """The nearest chunks; all are compared, unless there are so many that they have an approximate index."""
        condition = self._condition(tenant, where)
        with translated(self._index):
            return nearest(
                self._table, vectors, k, name=name, metric=self._meta["metric"], condition=condition
            )

    def search_meaning(
        self,
        texts: Sequence[str],
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        """Never possible.

        :raises InvalidArgument: always; LanceDB makes no vectors.
        """
        raise InvalidArgument(f"Index {self._index!r}: LanceDB makes no vectors of texts")

    def search_words(
        self, texts: Sequence[str], k: int, *, tenant: str | None = None, where: Sequence[Condition] = ()
    ) -> list[list[Hit]]:
        """The best chunks by BM25."""
        condition = self._condition(tenant, where)
        if not self._meta["full_text"]:
            raise InvalidArgument(
                f"Index {self._index!r} keeps no full-text index",
                next_step="Set full_text=True, which builds it anew.",
            )
        with translated(self._index):
            return [best(self._table, text, k, condition=condition) for text in texts]

    def _condition(self, tenant: str | None, where: Sequence[Condition]) -> str | None:
        lacking = {condition.name for condition in where} - set(self._table.schema.names)
        if lacking:
            raise InvalidArgument(f"Index {self._index!r}: this version has no property {min(lacking)!r}")
        own = of_tenant(tenant)
        with translated(self._index):
            if own and not self._table.count_rows(own):
                raise TenantMissing(f"Index {self._index!r}: no tenant {tenant!r}")
        return " AND ".join(filter(None, (own, sql(where)))) or None

    def unfindable(self, ids: Sequence[str]) -> list[str]:
        """Chunks that cannot be read back: without an approximate index, what is stored is found."""
        return self.unlisted(ids)

    def unlisted(self, ids: Sequence[str]) -> list[str]:
        """Chunks that cannot be read back: reading is by filter."""
        stored = self.rows(ids)
        return [chunk for chunk in ids if chunk not in stored]

    def layout_problems(self, layout: Layout | None) -> list[str]:
        """Compare the table's schema with the one that the layout would get."""
        return layout_problems(self._table.schema, layout)


class LanceBuild(LanceSnapshot):
    """The head of the table, for writing. See :class:`~airflow_provider_mlops.vector.stores.base.Build`."""

    # Rows and indexes change in one commit, and rows that no index covers are compared one by one.
    hides_chunks = False

    def __init__(self, table: Any, index: str, version: Version) -> None:
        super().__init__(table, index)
        self.version = version
        self._writer = LanceWriter(table)

    @property
    def _table(self) -> Any:
        # Whatever reads or deletes sees what was written before.
        self._writer.flush()
        return self._opened

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        """Rows that the version lacks are appended, others merged; see :class:`~.lance_writer.LanceWriter`."""
        with translated(self._index):
            (self._writer.append if lacking else self._writer.merge)(rows)
        return Written()

    def flush(self) -> Sequence[Row]:
        """Commit, which is all."""
        with translated(self._index):
            self._writer.flush()
        return ()

    def abandon(self) -> None:
        """Commit no more."""
        self._writer.abandon()

    def written_with(self, ids: Collection[str]) -> Iterator[str]:
        """Nothing is ever half-written: a commit is there, or not."""
        return iter(())

    def delete(self, ids: Sequence[str]) -> None:
        """One atomic commit per thousand ids."""
        for condition in id_conditions(ids):
            with translated(self._index):
                self._table.delete(condition)

    def settle(self) -> None:
        """Indexes, compaction, and cleaning up; see :func:`~.lance_upkeep.upkeep`."""
        with translated(self._index):
            upkeep(self._table, metric=self._meta["metric"], full_text=self._meta["full_text"])

    def seal(self) -> None:
        """Tag the head."""
        with translated(self._index):
            self._table.tags.create(self.version.name, self._table.version)

    def reject(self) -> None:
        """Tag the head as rejected."""
        with translated(self._index):
            self._table.tags.create(REJECTED + self.version.name, self._table.version)
