"""Weaviate: one collection per version, and an alias under the index's name.

Readers use the alias and nothing else; writers use the collection's own name, because a write through an
alias that moves is split between two collections. Auto-schema is never relied on.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector.errors import (
    ActivationFailed,
    IndexNameTaken,
    VersionIncomplete,
    VersionMissing,
)
from airflow_provider_mlops.vector.stores.base import (
    Joined,
    Layout,
    Lease,
    Version,
    is_version_name,
)
from airflow_provider_mlops.vector.stores.weaviate_client import connect, translated
from airflow_provider_mlops.vector.stores.weaviate_collection import WeaviateBuild, WeaviateSnapshot
from airflow_provider_mlops.vector.stores.weaviate_layout import (
    collection_settings,
    setting_changes,
)
from airflow_provider_mlops.vector.stores.weaviate_registry import JoinedLease, Registry

if TYPE_CHECKING:
    from weaviate import WeaviateClient


log = logging.getLogger(__name__)


def open_weaviate(index: str, *, connection: ConnectionInfo) -> WeaviateStore:
    """Connect to the server that holds the index. Raises as :func:`.weaviate_client.connect`."""
    return WeaviateStore(connect(connection), index)


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
