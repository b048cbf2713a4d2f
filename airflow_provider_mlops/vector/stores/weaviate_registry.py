"""Weaviate: what this package notes about an index, in a collection of its own beside the versions.

It holds one object per version (its state), one that says whether the last run ended well, and the lease.
It travels with the server's backups, and needs no database elsewhere.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector.errors import IndexBusy
from airflow_provider_mlops.vector.stores.base import LEASE_SECONDS, release_after, tenure_over
from airflow_provider_mlops.vector.stores.weaviate_client import translated

if TYPE_CHECKING:
    from weaviate import WeaviateClient

_ROOT = uuid.UUID("0d5ad4b4-7f2e-5a0c-8b39-6d6a0a3f8f55")


class Registry:
    """Small named JSON notes of one index."""

    def __init__(self, client: WeaviateClient, index: str) -> None:
        self._client = client
        self.index = index
        self.collection_name = f"{index}_registry"

    def _id(self, name: str) -> uuid.UUID:
        return uuid.uuid5(_ROOT, f"{self.index}/{name}")

    def _notes(self) -> Any:
        return self._client.collections.use(self.collection_name)

    def _create(self) -> None:
        from weaviate.classes.config import Configure, DataType, Property, Tokenization

        if self._client.collections.exists(self.collection_name):
            return
        properties = [
            Property(
                name=name,
                data_type=DataType.TEXT,
                tokenization=Tokenization.FIELD,
                index_searchable=False,
                index_filterable=False,
            )
            for name in ("name", "note")
        ]
        try:
            self._client.collections.create(
                self.collection_name, properties=properties, vector_config=Configure.Vectors.self_provided()
            )
        except Exception:
            # Another run made it in between; any other cause is raised.
            if not self._client.collections.exists(self.collection_name):
                raise

    def all(self) -> dict[str, dict[str, Any]]:
        """Every note by name."""
        with translated(f"Index {self.index!r}"):
            if not self._client.collections.exists(self.collection_name):
                return {}
            found = [item.properties for item in self._notes().iterator()]
        return {str(item["name"]): json.loads(str(item["note"])) for item in found}

    def get(self, name: str) -> dict[str, Any] | None:
        """One note."""
        with translated(f"Index {self.index!r}"):
            if not self._client.collections.exists(self.collection_name):
                return None
            item = self._notes().query.fetch_object_by_id(self._id(name))
        return None if item is None else json.loads(str(item.properties["note"]))

    def insert(self, name: str, note: Mapping[str, Any]) -> bool:
        """Write a new note; false if there is one of that name. Of several at a time one wins."""
        from weaviate.exceptions import UnexpectedStatusCodeError

        with translated(f"Index {self.index!r}"):
            self._create()
            try:
                self._notes().data.insert({"name": name, "note": json.dumps(note)}, uuid=self._id(name))
            except UnexpectedStatusCodeError as error:
                if "already exists" in str(error):
                    return False
                raise
        return True

    def put(self, name: str, note: Mapping[str, Any]) -> None:
        """Write a note, new or not."""
        if not self.insert(name, note):
            with translated(f"Index {self.index!r}"):
                self._notes().data.replace(self._id(name), {"name": name, "note": json.dumps(note)})

    def delete(self, name: str) -> None:
        """Remove a note, if it is there."""
        with translated(f"Index {self.index!r}"):
            self._notes().data.delete_by_id(self._id(name))

    # The lease itself is written once and never over: who is late cannot put an old one in the place of a new one.

    def lease_end(self, lease: Mapping[str, Any]) -> float:
        """When a lease ends, as seconds of the epoch."""
        prolonged = self.get(_prolongation(lease["token"]))
        return float(max(lease["expires"], prolonged["expires"] if prolonged else 0.0))

    def prolong(self, token: str) -> float:
        """Let the lease of that token last for its full time from now on; returns when it ends."""
        expires = time.time() + LEASE_SECONDS
        self.put(_prolongation(token), {"expires": expires})
        return expires

    def forget_lease(self, lease: Mapping[str, Any] | None) -> None:
        """Remove what is noted about a lease."""
        self.delete("lease")
        if lease:
            self.delete(_prolongation(lease["token"]))

    @contextmanager
    def lease(self, holder: str) -> Iterator[WeaviateLease]:
        """Become the only writer; see :class:`~airflow_provider_mlops.vector.stores.base.Store`."""
        lease = WeaviateLease(self, holder)
        try:
            yield lease
        except BaseException as error:
            release_after(error, lease)
            raise
        lease.release(clean=True)


def _prolongation(token: str) -> str:
    return f"lease-{token}"


class WeaviateLease:
    """See :class:`~airflow_provider_mlops.vector.stores.base.Lease`.

    Taking it is safe, since the server creates an id once only. Weaviate has no conditional update, so keeping
    it is looked at before every step instead.
    """

    def __init__(self, registry: Registry, holder: str) -> None:
        self._registry = registry
        self._holder = holder
        self.token = uuid.uuid4().hex
        self.continues: str | None = None
        self._expires = 0.0
        self._wrote = False
        self._left = False
        self._take()
        self._unclean = (registry.get("state") or {}).get("clean") is False

    @property
    def unclean(self) -> bool:
        """A run before this one began to write and did not end well."""
        return self._unclean

    def _note(self) -> dict[str, Any]:
        self._expires = time.time() + LEASE_SECONDS
        return {"holder": self._holder, "token": self.token, "expires": self._expires}

    def _take(self) -> None:
        if self._insert():
            return
        other = self._registry.get("lease")
        if other and other["holder"] != self._holder and self._registry.lease_end(other) > time.time():
            raise self._busy(other)
        self._registry.forget_lease(other)
        if not self._insert():
            raise self._busy(self._registry.get("lease"))
        if other and other["holder"] == self._holder:
            self.continues = other["token"]

    def _insert(self) -> bool:
        """Write the note if there is none; where the answer is lost, a look tells whether it is ours."""
        try:
            return self._registry.insert("lease", self._note())
        except RemoteUnavailable:
            held = self._registry.get("lease")
            if held is None or held["token"] != self.token:
                raise
            return True

    def _busy(self, other: Mapping[str, Any] | None) -> IndexBusy:
        holder = other["holder"] if other else "another run"
        return IndexBusy(f"Index {self._registry.index!r} is being written by {holder!r}", holder=holder)

    def renew(self) -> None:
        """Look at the lease, and write it anew when a third of its time has passed."""
        held = self._registry.get("lease")
        if held is None or held["token"] != self.token:
            raise self._busy(held)
        if self._expires - time.time() < LEASE_SECONDS * 2 / 3:
            self._expires = self._registry.prolong(self.token)

    def writing(self) -> None:
        """Mark the index as unclean."""
        self.renew()
        self._registry.put("state", {"clean": False})
        self._wrote = True

    def leave(self) -> None:
        """Leave the lease to a holder of the same name."""
        self._left = True

    def release(self, *, clean: bool) -> None:
        """Let others in; a lease that was taken over stays with its new holder."""
        if clean and self._left:
            return
        held = self._registry.get("lease")
        if held is None or held["token"] != self.token:
            return
        if clean and self._wrote:
            self._registry.put("state", {"clean": True})
        self._registry.forget_lease(held)


class JoinedLease:
    """See :class:`~airflow_provider_mlops.vector.stores.base.Joined`."""

    def __init__(self, registry: Registry, token: str) -> None:
        self._registry = registry
        self._token = token
        self.renew()

    def renew(self) -> None:
        """Look at the lease, and prolong it when a third of its time has passed and nobody else has done so."""
        held = self._registry.get("lease")
        if held is None or held["token"] != self._token:
            raise tenure_over(self._registry.index)
        if self._registry.lease_end(held) - time.time() < LEASE_SECONDS * 2 / 3:
            self._registry.prolong(self._token)
