"""Weaviate: one version of an index, which is one collection, for reading and for writing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import (
    IndexReadOnly,
    WritesUnconfirmed,
)
from airflow_provider_mlops.vector.ids import address
from airflow_provider_mlops.vector.stores import weaviate_batch, weaviate_lookup
from airflow_provider_mlops.vector.stores.base import (
    Hit,
    Layout,
    Row,
    Version,
    Written,
)
from airflow_provider_mlops.vector.stores.weaviate_batch import IN_FLIGHT, VECTOR_NAME
from airflow_provider_mlops.vector.stores.weaviate_client import translated
from airflow_provider_mlops.vector.stores.weaviate_filter import client_filter, refused_filter
from airflow_provider_mlops.vector.stores.weaviate_layout import (
    layout_problems,
)
from airflow_provider_mlops.vector.stores.weaviate_queue import wait_until_indexed
from airflow_provider_mlops.vector.stores.weaviate_registry import Registry
from airflow_provider_mlops.vector.stores.weaviate_scan import scan
from airflow_provider_mlops.vector.stores.weaviate_tenants import Tenants
from airflow_provider_mlops.vector.stores.weaviate_trail import Trail

if TYPE_CHECKING:
    import numpy as np
    from weaviate import WeaviateClient

    from airflow_provider_mlops.vector.filters import Condition

_FIXED = ("doc", "ordinal", "digest", "text")
# The server deletes at most 10,000 objects per call; message sizes bound the others.
_IDS_PER_DELETE = 1000
_IDS_PER_FETCH = 250
_DIGESTS_PER_FETCH = 1000
# Requests that are under way at once began at most so far apart.
_SAME_MOMENTS = timedelta(seconds=10)


class WeaviateSnapshot:
    """One collection, for reading. See :class:`~airflow_provider_mlops.vector.stores.base.Snapshot`."""

    def __init__(self, client: WeaviateClient, physical: str) -> None:
        self._client = client
        self._physical = physical
        self._collection = client.collections.use(physical)
        self._tenants = Tenants(client, physical)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"Collection {self._physical!r}")

    def count(self) -> int:
        """Number of chunks."""
        with self._translated():
            counts = (part.aggregate.over_all(total_count=True) for _, part in self._tenants.parts())
            return sum(count.total_count or 0 for count in counts)

    def scan(self) -> Iterator[tuple[str, str, str]]:
        """Every chunk as (id, document key, digest)."""
        with self._translated():
            for tenant, _ in self._tenants.parts():
                yield from scan(self._client, self._physical, tenant)

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of the chunks that exist, by id."""
        found: dict[str, Row] = {}
        with self._translated():
            for tenant, part, plain in self._tenants.grouped(ids):
                for some in batches(plain, _IDS_PER_FETCH):
                    listed = part.query.fetch_objects_by_ids(
                        some, limit=len(some), include_vector=True
                    ).objects
                    passed_by = set(some) - {str(item.uuid) for item in listed}
                    stored = (_stored(part, chunk, include_vector=True) for chunk in sorted(passed_by))
                    rows = (_row(tenant, item) for item in chain(listed, filter(None, stored)))
                    found.update((row.id, row) for row in rows)
        return found

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """Digests of those of the chunks that exist, by id."""
        found: dict[str, str] = {}
        with self._translated():
            for tenant, part, plain in self._tenants.grouped(ids):
                for some in batches(plain, _DIGESTS_PER_FETCH):
                    answer = part.query.fetch_objects_by_ids(
                        some, limit=len(some), return_properties=["digest"]
                    )
                    found.update(
                        (address(tenant, str(item.uuid)), str(item.properties["digest"]))
                        for item in answer.objects
                    )
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
        """The nearest chunks, by the server's approximate index."""
        from weaviate.classes.query import MetadataQuery

        settings = {"target_vector": name or VECTOR_NAME, "return_metadata": MetadataQuery(distance=True)}
        return self._asked("near_vector", settings, [vector.tolist() for vector in vectors], k, tenant, where)

    def search_meaning(
        self,
        texts: Sequence[str],
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        """The nearest chunks, with vectors that the server's module makes of the texts."""
        from weaviate.classes.query import MetadataQuery

        metadata = MetadataQuery(distance=True, score=True)
        settings = {"alpha": 1, "target_vector": name or VECTOR_NAME, "return_metadata": metadata}
        # All modules can do this; not all of them know the server's search that is called near_text.
        return self._asked("hybrid", settings, texts, k, tenant, where)

    def search_words(
        self, texts: Sequence[str], k: int, *, tenant: str | None = None, where: Sequence[Condition] = ()
    ) -> list[list[Hit]]:
        """The best chunks by BM25."""
        from weaviate.classes.query import MetadataQuery

        settings = {"query_properties": ["text"], "return_metadata": MetadataQuery(score=True)}
        return self._asked("bm25", settings, texts, k, tenant, where)

    def _asked(
        self,
        way: str,
        settings: Mapping[str, Any],
        asked: Sequence[Any],
        k: int,
        tenant: str | None,
        where: Sequence[Condition],
    ) -> list[list[Hit]]:
        filters = client_filter(where)
        with (
            refused_filter(where),
            self._translated(),
            ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="weaviate-search") as threads,
        ):
            query = getattr(self._tenants.part(tenant).query, way)
            answers = threads.map(lambda one: query(one, limit=k, filters=filters, **settings), asked)
            return [[_hit(item) for item in answer.objects] for answer in answers]

    def unfindable(self, ids: Sequence[str]) -> list[str]:
        """Chunks that the vector index does not know, whatever the store says."""
        with self._translated():
            lost = {
                chunk
                for name in self._tenants.config.vector_config or ()
                for chunk in weaviate_lookup.unfindable(self._client, self._physical, ids, name)
            }
        return [chunk for chunk in ids if chunk in lost]

    def unlisted(self, ids: Sequence[str]) -> list[str]:
        """Chunks that the inverted index does not know by their id, whatever the store says."""
        listed = self.digests(ids)
        return [chunk for chunk in ids if chunk not in listed]

    def layout_problems(self, layout: Layout | None) -> list[str]:
        """Compare the collection's settings with those that the layout would get."""
        with self._translated():
            return layout_problems(self._collection.config.get(), layout)


class WeaviateBuild(WeaviateSnapshot):
    """One collection, for writing. See :class:`~airflow_provider_mlops.vector.stores.base.Build`."""

    # A server that crashes keeps its objects, but not all of their places in its graph and its inverted index.
    hides_chunks = True

    def __init__(self, client: WeaviateClient, registry: Registry, version: Version) -> None:
        super().__init__(client, version.physical)
        self._registry = registry
        self._trail = Trail()
        self.version = version

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        """Several small requests at a time; to the server all writes are upserts."""
        with self._translated():
            self._tenants.ensure(row.id for row in rows)
            self._trail.note(rows)
            return weaviate_batch.upsert(self._client, self._physical, rows)

    def flush(self) -> Sequence[Row]:
        """The server has answered for all; a few rows sent once more make it write the log of its graph as well."""
        with self._translated():
            return self._trail.take(self._tenants.shards)

    def abandon(self) -> None:
        """Nothing waits that could be sent."""
        self._trail.clear()

    def written_with(self, ids: Collection[str]) -> Iterator[str]:
        """By the server's clock, which gives all objects of a request the same time."""
        from weaviate.classes.query import MetadataQuery

        wanted = MetadataQuery(last_update_time=True)
        with self._translated():
            moments = {
                item.metadata.last_update_time
                for _, part, plain in self._tenants.grouped(ids)
                for item in (_stored(part, chunk, return_metadata=wanted) for chunk in plain)
                if item
            }
            for tenant, part in self._tenants.parts() if moments else ():
                for item in part.iterator(return_metadata=wanted, return_properties=[]):
                    written = item.metadata.last_update_time
                    if any(abs(written - moment) <= _SAME_MOMENTS for moment in moments):
                        yield address(tenant, str(item.uuid))

    def delete(self, ids: Sequence[str]) -> None:
        """In parts, each repeated until the server finds nothing more."""
        from weaviate.classes.query import Filter

        self._trail.forget(set(ids))
        with self._translated():
            for _, part, plain in self._tenants.grouped(ids):
                for some in batches(plain, _IDS_PER_DELETE):
                    condition = Filter.by_id().contains_any(some)
                    while (answer := part.data.delete_many(where=condition)).matches:
                        if not answer.successful:
                            self.check_writable()
                            raise WritesUnconfirmed(
                                f"Collection {self._physical!r}: none of {answer.matches} objects could be deleted"
                            )

    def check_writable(self) -> None:
        """Look at the shards.

        :raises IndexReadOnly: at least one takes no writes.
        """
        if "READONLY" in self._shard_states():
            raise IndexReadOnly(f"Collection {self._physical!r}: the server has made it read-only")

    def _shard_states(self) -> set[str]:
        with self._translated():
            return {str(shard.status) for shard in self._collection.config.get_shards()}

    def settle(self) -> None:
        """Wait until the index queue is empty."""
        wait_until_indexed(self._client, self._physical)

    def seal(self) -> None:
        """Note that the version is complete."""
        self._registry.put(self.version.name, {"state": "built"})

    def reject(self) -> None:
        """Note that the gate said no."""
        self._registry.put(self.version.name, {"state": "rejected"})


def _stored(part: Any, chunk: str, **wanted: Any) -> Any | None:
    """What is stored under an id, read past the inverted index: it is what comes next after the id before it."""
    before = str(UUID(int=UUID(chunk).int - 1))
    answer = part.query.fetch_objects(after=before, limit=1, **wanted)
    return next((item for item in answer.objects if str(item.uuid) == chunk), None)


def _row(tenant: str | None, item: Any) -> Row:
    import numpy as np

    values: dict[str, Any] = dict(item.properties)
    fixed = {name: values.pop(name) for name in _FIXED}
    vectors = {name: np.asarray(vector, dtype=np.float32) for name, vector in item.vector.items()}
    main = vectors.pop(VECTOR_NAME, np.empty(0, np.float32))
    more = {name: vector for name, vector in vectors.items() if vector.size}
    return Row(id=address(tenant, str(item.uuid)), **fixed, properties=values, vector=main, more=more)


def _hit(item: Any) -> Hit:
    values = {name: value for name, value in item.properties.items() if name not in _FIXED}
    return Hit(
        id=str(item.uuid),
        doc=item.properties["doc"],
        text=item.properties["text"],
        properties=values,
        distance=item.metadata.distance,
        score=item.metadata.score,
    )
