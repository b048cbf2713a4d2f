"""Weaviate: the parts of a collection that its tenants are; a collection without tenants is one part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.errors import TenantMissing
from airflow_provider_mlops.vector.ids import placed, tenants

if TYPE_CHECKING:
    from weaviate import WeaviateClient


class Tenants:
    """The tenants of one collection, asked for once and kept.

    :param collection: its physical name.
    """

    def __init__(self, client: WeaviateClient, collection: str) -> None:
        self._collection = client.collections.use(collection)
        self._names: set[str] | None = None
        self._config: Any = None

    @property
    def config(self) -> Any:
        """The collection's settings, as the client gives them."""
        if self._config is None:
            self._config = self._collection.config.get()
        return self._config

    @property
    def shards(self) -> int:
        """How many shards objects without tenants are spread over."""
        sharding = self.config.sharding_config
        return int(sharding.actual_count) if sharding else 1

    def _known(self) -> set[str]:
        if self._names is None:
            self._names = set(self._collection.tenants.get())
        return self._names

    def parts(self) -> Iterator[tuple[str | None, Any]]:
        """Every part: name of the tenant (``None`` without tenants) and what to ask."""
        if not self.config.multi_tenancy_config.enabled:
            yield None, self._collection
            return
        self._names = None  # another run may have made some
        for name in sorted(self._known()):
            yield name, self._collection.with_tenant(name)

    def part(self, tenant: str | None) -> Any:
        """The part that a search is for.

        :raises TenantMissing: there is none of that name.
        """
        if tenant is None:
            return self._collection
        if tenant not in self._known():
            raise TenantMissing(f"Collection {self._collection.name!r}: no tenant {tenant!r}")
        return self._collection.with_tenant(tenant)

    def grouped(self, ids: Iterable[str]) -> Iterator[tuple[str | None, Any, list[str]]]:
        """Chunks by tenant: its name, what to ask, and their ids there. Those of tenants that do not exist are left out."""
        groups: dict[str | None, list[str]] = {}
        for chunk in ids:
            tenant, plain = placed(chunk)
            groups.setdefault(tenant, []).append(plain)
        for tenant, plain_ids in groups.items():
            if tenant is None or tenant in self._known():
                yield tenant, self.part(tenant), plain_ids

    def ensure(self, ids: Iterable[str]) -> None:
        """Make the tenants of these chunks that do not exist."""
        wanted = tenants(ids)
        if new := sorted(wanted - self._known()) if wanted else []:
            self._collection.tenants.create(new)
            self._known().update(new)
