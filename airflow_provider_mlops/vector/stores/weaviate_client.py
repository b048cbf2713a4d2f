"""Weaviate: the client, made from a connection of the official provider, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.vector.stores.weaviate_errors import grpc_code, kind_of, kind_of_status

if TYPE_CHECKING:
    from weaviate import WeaviateClient

_DEFAULT_GRPC_PORT = 50051


def connect(connection: ConnectionInfo) -> WeaviateClient:
    """Open a client. The caller closes it; it is never made before the worker's process has forked.

    :param connection: of the official type ``weaviate``: host, port, login and password; extra ``http_secure``,
        ``grpc_host``, ``grpc_port`` (default 443 with ``grpc_secure``, else 50051), ``grpc_secure``, ``api_key`` or ``token``,
        ``access_token``, ``client_secret``, ``scope``, ``additional_headers``.
    :raises ConnectionIncomplete: it has no host, or a port is not a number.
    :raises RemoteUnavailable: nothing answers.
    :raises CredentialsRejected: the credentials are not accepted.
    """
    import weaviate

    http_host, http_port, http_secure = http_address(connection)
    extra = connection.extra
    grpc_secure = connection.flag("grpc_secure", default=http_secure)
    with _numbers(connection):
        grpc_port = int(extra.get("grpc_port") or (443 if grpc_secure else _DEFAULT_GRPC_PORT))
    with translated(f"Weaviate of connection {connection.conn_id!r}"):
        return weaviate.connect_to_custom(
            http_host=http_host,
            http_port=http_port,
            http_secure=http_secure,
            grpc_host=extra.get("grpc_host") or http_host,
            grpc_port=grpc_port,
            grpc_secure=grpc_secure,
            headers=extra.get("additional_headers") or None,
            auth_credentials=_credentials(connection),
        )


def http_address(connection: ConnectionInfo) -> tuple[str, int, bool]:
    """Host, port, and whether it is reached with TLS.

    :raises ConnectionIncomplete: it has no host, or the port is not a number.
    """
    if not connection.host:
        raise ConnectionIncomplete(
            f"Connection {connection.conn_id!r} has no host", conn_id=connection.conn_id
        )
    parts = urlsplit(connection.host if "://" in connection.host else f"//{connection.host}")
    secure = connection.flag("http_secure", default=parts.scheme == "https")
    with _numbers(connection):
        return parts.hostname or "", int(connection.port or parts.port or (443 if secure else 80)), secure


@contextmanager
def _numbers(connection: ConnectionInfo) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConnectionIncomplete(
            f"Connection {connection.conn_id!r}: a port is not a number", conn_id=connection.conn_id
        ) from error


def _credentials(connection: ConnectionInfo) -> Any:
    from weaviate.classes.init import Auth

    extra = connection.extra
    scope = extra.get("scope") or extra.get("oidc_scope")
    if key := extra.get("api_key") or extra.get("token"):
        return Auth.api_key(key)
    if token := extra.get("access_token"):
        return Auth.bearer_token(
            token, expires_in=extra.get("expires_in", 60), refresh_token=extra.get("refresh_token")
        )
    if secret := extra.get("client_secret"):
        return Auth.client_credentials(secret, scope=scope)
    if connection.login and connection.password:
        return Auth.client_password(connection.login, connection.password, scope=scope)
    return None


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Translate the client's errors.

    :param subject: what is worked on, for the message.
    :raises CredentialsRejected, PermissionDenied: 401, 403, and the like of gRPC.
    :raises RequestRefused: another 4xx, or a gRPC status that says the same.
    :raises RateLimited: 429 or RESOURCE_EXHAUSTED.
    :raises RemoteUnavailable: everything else; a retry may help.
    """
    import httpx
    from weaviate.exceptions import (
        AuthenticationFailedError,
        MissingScopeError,
        UnexpectedStatusCodeError,
        WeaviateBaseError,
        WeaviateInvalidInputError,
        WeaviateUnsupportedFeatureError,
    )

    try:
        yield
    except (AuthenticationFailedError, MissingScopeError) as error:
        raise CredentialsRejected(f"{subject}: {error}") from error
    except UnexpectedStatusCodeError as error:
        # Over gRPC, the number is that of the gRPC status.
        kind = kind_of(error) if grpc_code(error) else kind_of_status(error.status_code)
        raise kind(f"{subject}: {error}") from error
    except (WeaviateInvalidInputError, WeaviateUnsupportedFeatureError) as error:
        raise RequestRefused(f"{subject}: {error}") from error
    except WeaviateBaseError as error:
        raise kind_of(error)(f"{subject}: {error}") from error
    except (httpx.HTTPError, OSError) as error:
        # The client passes some of its HTTP library's errors on as they are (a connection that is reset).
        raise RemoteUnavailable(f"{subject}: {error}") from error
