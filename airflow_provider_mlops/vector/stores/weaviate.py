"""Weaviate: one collection per version, and an alias under the index's name.

Readers use the alias and nothing else; writers use the collection's own name, because a write through an
alias that moves is split between two collections. Auto-schema is never relied on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.errors import (
    ActivationFailed,
    IndexNameTaken,
    IndexReadOnly,
    VersionIncomplete,
    VersionMissing,
    WritesUnconfirmed,
)
from airflow_provider_mlops.vector.ids import address
from airflow_provider_mlops.vector.stores import weaviate_batch, weaviate_lookup
from airflow_provider_mlops.vector.stores.base import (
    Hit,
    Joined,
    Layout,
    Lease,
    Row,
    Version,
    Written,
    is_version_name,
)
from airflow_provider_mlops.vector.stores.weaviate_batch import IN_FLIGHT, VECTOR_NAME
from airflow_provider_mlops.vector.stores.weaviate_client import connect, translated
from airflow_provider_mlops.vector.stores.weaviate_filter import client_filter, refused_filter
from airflow_provider_mlops.vector.stores.weaviate_layout import (
    collection_settings,
    layout_problems,
    setting_changes,
)
from airflow_provider_mlops.vector.stores.weaviate_queue import wait_until_indexed
from airflow_provider_mlops.vector.stores.weaviate_registry import JoinedLease, Registry
from airflow_provider_mlops.vector.stores.weaviate_tenants import Tenants

if TYPE_CHECKING:
    import numpy as np
    from weaviate import WeaviateClient

    from airflow_provider_mlops.vector.filters import Condition

log = logging.getLogger(__name__)

_FIXED = ("doc", "ordinal", "digest", "text")
# The server deletes at most 10,000 objects per call; message sizes bound the others.
_IDS_PER_DELETE = 1000
_IDS_PER_FETCH = 250
_DIGESTS_PER_FETCH = 1000
_SCAN_PAGE = 1000


def open_weaviate(index: str, *, connection: ConnectionInfo) -> WeaviateStore:
    """Connect to the server that holds the index. Raises as :func:`.weaviate_client.connect`."""
    return WeaviateStore(connect(connection), index)


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
            for tenant, part in self._tenants.parts():
                for item in part.iterator(return_properties=["doc", "digest"], cache_size=_SCAN_PAGE):
                    chunk = address(tenant, str(item.uuid))
                    yield chunk, str(item.properties["doc"]), str(item.properties["digest"])

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of the chunks that exist, by id."""
        found: dict[str, Row] = {}
        with self._translated():
            for tenant, part, plain in self._tenants.grouped(ids):
                for some in batches(plain, _IDS_PER_FETCH):
                    answer = part.query.fetch_objects_by_ids(some, limit=len(some), include_vector=True)
                    found.update((row.id, row) for row in (_row(tenant, item) for item in answer.objects))
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

    def layout_problems(self, layout: Layout | None) -> list[str]:
        """Compare the collection's settings with those that the layout would get."""
        with self._translated():
            return layout_problems(self._collection.config.get(), layout)


class WeaviateBuild(WeaviateSnapshot):
    """One collection, for writing. See :class:`~airflow_provider_mlops.vector.stores.base.Build`."""

    # A server that crashes keeps its objects, but not all of its graph.
    hides_chunks = True

    def __init__(self, client: WeaviateClient, registry: Registry, version: Version) -> None:
        super().__init__(client, version.physical)
        self._registry = registry
        self.version = version

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        """Several small requests at a time; to the server all writes are upserts."""
        with self._translated():
            self._tenants.ensure(row.id for row in rows)
            return weaviate_batch.upsert(self._client, self._physical, rows)

    def flush(self) -> None:
        """Nothing waits: the server has answered."""

    def abandon(self) -> None:
        """Nothing waits."""

    def delete(self, ids: Sequence[str]) -> None:
        """In parts, each repeated until the server finds nothing more."""
        from weaviate.classes.query import Filter

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


class WeaviateStore:
    """One index as an alias. See :class:`~airflow_provider_mlops.vector.stores.base.Store`."""

    shared_writes = True

    def __init__(self, client: WeaviateClient, index: str) -> None:
        self._client = client
        self._index = index
        self._registry = Registry(client, index)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"Index {self._index!r}")

    def _physical(self, version: str) -> str:
        return f"{self._index}_{version}"

    def versions(self) -> list[Version]:
        """Versions that are noted and whose collection is there."""
        notes = self._registry.all()
        with self._translated():
            collections = self._client.collections.list_all(simple=True)
        found = [
            Version(name, self._physical(name), note["state"])
            for name, note in notes.items()
            if is_version_name(name) and self._physical(name) in collections
        ]
        return sorted(found, key=lambda version: version.number, reverse=True)

    def live(self) -> Version | None:
        """The version whose collection the alias points to."""
        with self._translated():
            alias = self._client.alias.get(alias_name=self._index)
        if alias is None:
            return None
        name = alias.collection.removeprefix(f"{self._index}_")
        if not is_version_name(name):
            raise IndexNameTaken(
                f"Index {self._index!r}: the alias of that name points to {alias.collection!r}, which is no version of it"
            )
        return Version(name, alias.collection, "built")

    def _known(self, version: str) -> Version:
        versions = self.versions()
        for known in versions:
            if known.name == version:
                return known
        names = ", ".join(other.name for other in versions) or "none at all"
        raise VersionMissing(f"Index {self._index!r} has no version {version!r}; there are: {names}")

    def read(self, version: str) -> WeaviateSnapshot:
        """Open a version."""
        return WeaviateSnapshot(self._client, self._known(version).physical)

    def begin(self, name: str, layout: Layout, base: str | None) -> WeaviateBuild:
        """Make an empty collection. What ``base`` holds is written like everything else, with its vectors."""
        version = Version(name, self._physical(name), "building")
        live = self.live()
        if live is None:
            with self._translated():
                taken = self._client.collections.exists(self._index)
            if taken:
                raise IndexNameTaken(
                    f"Index {self._index!r}: there is a collection of that name, which readers may use"
                )
        self._check_writable(live)
        self._registry.put(name, {"state": "building"})
        with self._translated():
            self._client.collections.delete(version.physical)
            self._client.collections.create(version.physical, **collection_settings(layout))
        return WeaviateBuild(self._client, self._registry, version)

    def resume(self, version: str) -> WeaviateBuild:
        """Write on; a rejected version loses its mark, a finished one keeps it."""
        known = self._known(version)
        self._check_writable(self.live())
        if known.state == "rejected":
            self._registry.put(version, {"state": "building"})
            known = Version(known.name, known.physical, "building")
        return WeaviateBuild(self._client, self._registry, known)

    def adapt(self, version: str, layout: Layout) -> None:
        """Change the collection's settings where they differ."""
        physical = self._known(version).physical
        with translated(f"Collection {physical!r}"):
            config = self._client.collections.use(physical).config
            if changes := setting_changes(config.get(), layout.weaviate):
                log.info("Collection %s: changing %s", physical, ", ".join(sorted(changes)))
                config.update(**changes)

    def _check_writable(self, live: Version | None) -> None:
        """The guard of a full disk makes the collections of that moment read-only, and not those made later.

        :raises IndexReadOnly: so a build beside the live version would fill the disk further.
        """
        # A live version whose collection is gone has no shards to look at.
        if live and live in self.versions():
            WeaviateBuild(self._client, self._registry, live).check_writable()

    def activate(self, version: str) -> str | None:
        """Point the alias to the version's collection, and look whether it does."""
        known = self._known(version)
        if known.state != "built":
            raise VersionIncomplete(
                f"Index {self._index!r}: version {version} is {known.state}, not finished"
            )
        before = self.live()
        if before is None or before.name != version:
            lost = self._move(before, known)
            # The client answers false for a missing alias, without an error, and an answer can be lost: a look tells.
            now = self.live()
            if now is None or now.name != version:
                if lost:
                    raise lost
                raise ActivationFailed(
                    f"Index {self._index!r}: the alias did not move to {known.physical}",
                    points_to=now.physical if now else None,
                )
        return before.name if before else None

    def _move(self, before: Version | None, after: Version) -> RemoteUnavailable | None:
        """Create or move the alias; returns the error if it is not known whether it moved."""
        try:
            with self._translated():
                if before is not None:
                    self._client.alias.update(alias_name=self._index, new_target_collection=after.physical)
                    return None
                if self._client.collections.exists(self._index):
                    raise IndexNameTaken(f"Index {self._index!r}: there is a collection of that name")
                self._client.alias.create(alias_name=self._index, target_collection=after.physical)
        except RemoteUnavailable as error:
            return error
        return None

    def pinned(self) -> set[str]:
        """Versions whose collection is the target of another alias."""
        with self._translated():
            aliases = self._client.alias.list_all()
        own = f"{self._index}_"
        return {
            alias.collection.removeprefix(own)
            for name, alias in aliases.items()
            if name != self._index and alias.collection.startswith(own)
        }

    def drop(self, version: str) -> None:
        """Delete the version's collection, then what is noted about it."""
        with self._translated():
            self._client.collections.delete(self._physical(version))
        self._registry.delete(version)

    def lease(self, holder: str) -> AbstractContextManager[Lease]:
        """See :meth:`.weaviate_registry.Registry.lease`."""
        return self._registry.lease(holder)

    def join(self, token: str) -> Joined:
        """See :class:`.weaviate_registry.JoinedLease`."""
        return JoinedLease(self._registry, token)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


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
