"""What the errors of the Weaviate client mean, and when its public methods have to do."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, Literal

import grpc
import pytest

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    MlopsError,
    PermissionDenied,
    RateLimited,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.vector.stores import weaviate_public
from airflow_provider_mlops.vector.stores.weaviate_errors import (
    grpc_code,
    is_final,
    is_too_large,
    kind_of,
    kind_of_status,
    passes,
)


class Rpc(grpc.RpcError):
    def __init__(self, code: str) -> None:
        self._code = getattr(grpc.StatusCode, code)

    def code(self) -> Any:
        return self._code


def raised(code: str | None, text: str = "words") -> Exception:
    """As the client raises it: its own error, while it handles that of the library."""
    try:
        try:
            if code is None:
                raise OSError
            raise Rpc(code)
        except (OSError, grpc.RpcError):
            raise RuntimeError(text)  # noqa: B904
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("code", "kind", "final"),
    [
        ("UNAVAILABLE", RemoteUnavailable, False),
        ("DEADLINE_EXCEEDED", RemoteUnavailable, False),
        ("INTERNAL", RemoteUnavailable, False),
        ("UNKNOWN", RemoteUnavailable, False),
        (None, RemoteUnavailable, False),
        ("RESOURCE_EXHAUSTED", RateLimited, False),
        ("INVALID_ARGUMENT", RequestRefused, True),
        ("UNIMPLEMENTED", RequestRefused, True),
        ("PERMISSION_DENIED", PermissionDenied, True),
        ("UNAUTHENTICATED", CredentialsRejected, True),
    ],
)
def test_grpc_status_behind_an_error_says_what_it_is(
    code: str | None, kind: type[MlopsError], final: bool
) -> None:
    error = raised(code)
    assert (grpc_code(error), kind_of(error), is_final(error)) == (code, kind, final)


def test_message_that_is_too_large_is_told_from_other_limits() -> None:
    assert is_too_large(raised("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (11 vs. 10)"))
    assert not is_too_large(raised("RESOURCE_EXHAUSTED", "too many requests"))
    assert not is_too_large(raised("INTERNAL", "larger than max"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, CredentialsRejected),
        (403, PermissionDenied),
        (404, RequestRefused),
        (422, RequestRefused),
        (408, RemoteUnavailable),
        (429, RateLimited),
        (500, RemoteUnavailable),
    ],
)
def test_http_status(status: int, kind: type[MlopsError]) -> None:
    assert kind_of_status(status) is kind


def test_words_about_an_object() -> None:
    assert passes("store is read-only due to: disk")
    assert not passes("invalid integer property 'year'")


class Renamed:
    pass


class Changed:
    _grpc_channel = object()

    def grpc_headers(self) -> Any: ...
    def grpc_search(self, query: Any) -> Any: ...


class Demanding:
    def __init__(self) -> None:
        self._grpc_channel = grpc.insecure_channel("localhost:1")

    def grpc_headers(self, tenant: str) -> Any: ...
    def grpc_search(self, request: Any, tenant: str) -> Any: ...


class Extended:
    def __init__(self) -> None:
        self._grpc_channel = grpc.insecure_channel("localhost:1")

    def grpc_headers(self, more: int = 0) -> Any: ...
    def grpc_search(self, request: Any, more: int = 0) -> Any: ...


def as_it_is() -> Any:
    from weaviate.connect.v4 import ConnectionSync

    connection = ConnectionSync.__new__(ConnectionSync)
    connection._client = None  # which its finalizer reads
    connection._grpc_channel = grpc.insecure_channel("localhost:1")
    return connection


@pytest.mark.parametrize(
    ("work", "instead"), [("write", "written with insert_many"), ("scan", "read with an iterator")]
)
def test_public_methods_are_used_only_where_the_private_ones_have_changed(
    work: Literal["write", "scan"], instead: str, caplog: pytest.LogCaptureFixture
) -> None:
    def needed(connection: Any) -> bool:
        client: Any = SimpleNamespace(_connection=connection)
        return weaviate_public.needed(client, work)

    weaviate_public._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        real = as_it_is()
        assert [needed(connection) for connection in (real, Extended())] == [False, False]
        real._grpc_channel = None
        assert caplog.text == ""
        assert [needed(kind()) for kind in (Renamed, Changed, Demanding, Renamed)] == [True] * 4
        assert weaviate_public.needed(SimpleNamespace(), work) is True  # type: ignore[arg-type]
    assert caplog.text.count("is not as it is used here") == 1
    assert caplog.text.count(instead) == 1
