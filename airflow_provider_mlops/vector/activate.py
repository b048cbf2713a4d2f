"""Moving the live name of an index to a version that was built before: the last step of a release, or of a rollback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.stores import Connections, open_store

KIND = "vector.index"


@dataclass(frozen=True, slots=True)
class IndexRef:
    """Where one version of an index is, without any secret: all that activation needs.

    :param index: name of the index (Weaviate alias, LanceDB table).
    :param backend: ``lancedb`` or ``weaviate``.
    :param version: name of the version.
    :param physical: collection or table that holds it.
    :param conn_id: Airflow connection of the store, if it has one.
    :param uri: LanceDB location, if it is not the connection's.
    """

    index: str
    backend: str
    version: str
    physical: str
    conn_id: str | None = None
    uri: str | None = None

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> IndexRef:
        """Take the reference out of a :class:`~airflow_provider_mlops.payloads.VectorIndexPayload`.

        :raises InvalidArgument: the payload is of another kind, or lacks a part of the reference.
        """
        if payload.get("kind", KIND) != KIND:
            raise InvalidArgument(
                f"Not a vector index: payload of kind {payload.get('kind')!r}",
                next_step="Pass the output of a VectorIndexOperator.",
            )
        lacking = [key for key in ("index", "backend", "version", "physical") if not payload.get(key)]
        if lacking:
            raise InvalidArgument(
                f"The vector index payload has no {', '.join(lacking)}",
                next_step="Pass the whole output of a VectorIndexOperator.",
            )
        return cls(
            index=payload["index"],
            backend=payload["backend"],
            version=payload["version"],
            physical=payload["physical"],
            conn_id=payload.get("conn_id"),
            uri=payload.get("uri"),
        )


def activate(ref: IndexRef | Mapping[str, Any], connections: Connections) -> str | None:
    """Make the referenced version the live one; doing it again is harmless.

    :param ref: a reference, or the whole payload of the index task.
    :param connections: looks a connection up by id (``base.hook.connection_info`` in a worker).
    :returns: name of the version that was live before (the same one, if nothing had to move), or ``None``.
    :raises InvalidArgument: the payload is not that of an index.
    :raises VersionMissing: the version is not there any more.
    :raises VersionIncomplete: the version was never finished, or its gate rejected it.
    :raises ActivationFailed: the store did not switch.
    """
    ref = _reference(ref)
    with open_store(
        ref.backend, ref.index, conn_id=ref.conn_id, uri=ref.uri, connections=connections
    ) as store:
        return store.activate(ref.version)


def active_version(ref: IndexRef | Mapping[str, Any], connections: Connections) -> str | None:
    """Name of the version of this index that readers see now, or ``None``.

    :param ref: a reference to any version of the index, or the payload of an index task.
    :param connections: as for :func:`activate`.
    """
    ref = _reference(ref)
    with open_store(
        ref.backend, ref.index, conn_id=ref.conn_id, uri=ref.uri, connections=connections
    ) as store:
        live = store.live()
    return live.name if live else None


def _reference(ref: IndexRef | Mapping[str, Any]) -> IndexRef:
    return ref if isinstance(ref, IndexRef) else IndexRef.from_payload(ref)
