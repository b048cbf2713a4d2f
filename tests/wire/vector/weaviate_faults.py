"""The faults that a run on Weaviate is put through, with the proxies of :mod:`.faulty`."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    PermissionDenied,
    RateLimited,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.vector.errors import IndexReadOnly, ObjectsRefused, WritesUnconfirmed
from tests.unit.vector.fault_cases import Case
from tests.wire.vector.faulty import (
    Fault,
    Reset,
    Status,
    at_most,
    hang,
    lose_answer,
    lose_objects,
    lose_vectors,
    object_errors,
    refuse,
)

_ALIAS = r"(POST|PUT) /v1/aliases"
_NOTE = r"(POST|PUT) /v1/objects"


def _batch(deed: Any, times: int = 1) -> list[Fault]:
    return [Fault("BatchObjects", deed, times)]


ALWAYS = 10**9
READ_ONLY = "read-only"

CASES = [
    Case(
        id="object-refused",
        what="the server refuses objects for good",
        error=ObjectsRefused,
        do=lambda: _batch(object_errors("invalid integer property 'year'")),
    ),
    Case(
        id="object-refused-but-stored",
        what="the server refuses objects, and keeps them all the same",
        error=ObjectsRefused,
        do=lambda: _batch(object_errors("insert to vector index: failed", stored=True)),
    ),
    Case(
        id="object-passing-error",
        what="objects meet trouble that passes",
        error=None,
        do=lambda: _batch(object_errors("store is read-only due to: disk usage too high")),
    ),
    Case(
        id="write-internal",
        what="INTERNAL to one write",
        error=None,
        do=lambda: _batch(refuse("INTERNAL")),
    ),
    Case(
        id="write-internal-always",
        what="INTERNAL to every write",
        error=WritesUnconfirmed,
        do=lambda: _batch(refuse("INTERNAL"), ALWAYS),
    ),
    Case(
        id="write-unavailable",
        what="UNAVAILABLE to one write",
        error=None,
        do=lambda: _batch(refuse("UNAVAILABLE")),
    ),
    Case(
        id="write-unavailable-always",
        what="UNAVAILABLE to every write",
        error=WritesUnconfirmed,
        ways=("in place",),
        do=lambda: _batch(refuse("UNAVAILABLE"), ALWAYS),
    ),
    Case(
        id="write-answer-lost",
        what="a write is done, its answer lost (deadline)",
        error=None,
        do=lambda: _batch(lose_answer("DEADLINE_EXCEEDED")),
    ),
    Case(
        id="write-hangs",
        what="a write is done, its answer does not come in time",
        error=None,
        ways=("in place",),
        do=lambda: _batch(hang),
    ),
    Case(
        id="write-throttled",
        what="RESOURCE_EXHAUSTED to one write",
        error=None,
        ways=("in place",),
        do=lambda: _batch(refuse("RESOURCE_EXHAUSTED", "too many requests")),
    ),
    Case(
        id="write-too-large",
        what="a gateway takes small messages only: requests are split",
        error=None,
        do=lambda: _batch(at_most(2500), ALWAYS),
    ),
    Case(
        id="object-too-large",
        what="a single object is too large for the gateway",
        error=ObjectsRefused,
        ways=("in place",),
        do=lambda: _batch(at_most(100), ALWAYS),
    ),
    Case(
        id="write-invalid",
        what="INVALID_ARGUMENT to a write",
        error=RequestRefused,
        ways=("in place",),
        do=lambda: _batch(refuse("INVALID_ARGUMENT")),
    ),
    Case(
        id="write-forbidden",
        what="PERMISSION_DENIED to a write",
        error=PermissionDenied,
        ways=("in place",),
        do=lambda: _batch(refuse("PERMISSION_DENIED")),
    ),
    Case(
        id="write-unauthenticated",
        what="UNAUTHENTICATED to a write",
        error=CredentialsRejected,
        ways=("in place",),
        do=lambda: _batch(refuse("UNAUTHENTICATED")),
    ),
    Case(
        id="write-lost",
        what="the server confirms objects that it did not store",
        error=WritesUnconfirmed,
        do=lambda: _batch(lose_objects, 3),  # new ones, changed ones, and the small write that ends them
    ),
    Case(
        id="vector-lost",
        what="objects are stored, but not in the vector index",
        error=WritesUnconfirmed,
        do=lambda: _batch(lose_vectors, 3),
    ),
    Case(
        id="delete-internal",
        what="INTERNAL to a deletion",
        error=RemoteUnavailable,
        ways=("in place",),
        do=lambda: [Fault("BatchDelete", refuse("INTERNAL"), 1)],
    ),
    Case(
        id="delete-answer-lost",
        what="a deletion is done, its answer lost",
        error=RemoteUnavailable,
        ways=("in place",),
        do=lambda: [Fault("BatchDelete", lose_answer(), 1)],
    ),
    Case(
        id="read-unavailable",
        what="UNAVAILABLE to one query (the client repeats these, for about a minute)",
        error=None,
        ways=("in place",),
        do=lambda: [Fault("Search", refuse("UNAVAILABLE"), 1)],
    ),
    Case(
        id="read-unavailable-always",
        what="UNAVAILABLE to every query",
        error=RemoteUnavailable,
        ways=("in place",),
        do=lambda: [Fault("Search", refuse("UNAVAILABLE"))],
    ),
    Case(
        id="read-internal",
        what="INTERNAL to one query",
        error=RemoteUnavailable,
        ways=("in place", "rebuild"),
        do=lambda: [Fault("Search", refuse("INTERNAL"), 1)],
    ),
    Case(
        id="lookup-fails",
        what="500 to a look-up of what was written",
        error=RemoteUnavailable,
        do=lambda: [Fault("POST /v1/graphql", Status(500), 1)],
    ),
    Case(
        id="collection-answer-lost",
        what="the new collection is made, the answer lost",
        error=RemoteUnavailable,
        ways=("beside", "rebuild"),
        do=lambda: [Fault("POST /v1/schema", Reset(passed_on=True), 1)],
    ),
    Case(
        id="seal-answer-lost",
        what="the version is marked as finished, the answer lost",
        error=RemoteUnavailable,
        ways=("beside", "rebuild"),
        do=lambda: [Fault("PUT /v1/objects", Reset(passed_on=True), 1, holding=b"built")],
    ),
    Case(
        id="alias-answer-lost",
        what="the alias moves, the answer is lost",
        error=None,
        ways=("beside", "rebuild"),
        do=lambda: [Fault(_ALIAS, Reset(passed_on=True), 1)],
    ),
    Case(
        id="alias-reset",
        what="the connection breaks before the alias moves",
        error=RemoteUnavailable,
        ways=("beside", "rebuild"),
        do=lambda: [Fault(_ALIAS, Reset(passed_on=False), 1)],
    ),
    Case(
        id="alias-500",
        what="500 to moving the alias",
        error=RemoteUnavailable,
        ways=("rebuild",),
        do=lambda: [Fault(_ALIAS, Status(500), 1)],
    ),
    Case(
        id="alias-429",
        what="429 to moving the alias",
        error=RateLimited,
        ways=("rebuild",),
        do=lambda: [Fault(_ALIAS, Status(429), 1)],
    ),
    Case(
        id="lease-answer-lost",
        what="the lease is taken, the answer lost",
        error=None,
        ways=("in place",),
        do=lambda: [Fault("POST /v1/objects", Reset(passed_on=True), 1, holding=b"holder")],
    ),
    Case(
        id="lease-503",
        what="503 to taking the lease",
        error=RemoteUnavailable,
        ways=("in place", "rebuild"),
        do=lambda: [Fault("POST /v1/objects", Status(503), 1, holding=b"holder")],
    ),
    Case(
        id="unclean-mark-answer-lost",
        what="the mark that writes begin is set, the answer lost",
        error=RemoteUnavailable,
        ways=("in place", "rebuild"),
        do=lambda: [Fault(_NOTE, Reset(passed_on=True), 1, holding=b"clean")],
    ),
    Case(
        id="release-answer-lost",
        what="the lease is given back, the answer lost",
        error=RemoteUnavailable,
        moved=True,
        do=lambda: [Fault("DELETE /v1/objects", Reset(passed_on=True), 1)],
    ),
    Case(
        id="read-only-before",
        what="the live collection is read-only when the run begins",
        error=IndexReadOnly,
        do=READ_ONLY,
    ),
    Case(
        id="read-only-meanwhile",
        what="the collection becomes read-only while it is written",
        error=WritesUnconfirmed,
        do=lambda: [Fault("BatchObjects", READ_ONLY, 1)],
    ),
]
