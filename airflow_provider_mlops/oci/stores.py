"""Open the store of a repository: registry or layout folder, by the form of its reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete
from airflow_provider_mlops.oci.errors import InvalidReference
from airflow_provider_mlops.oci.image_store import ImageStore
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.oci.reference import LAYOUT_SCHEME, Reference, may_use_http

if TYPE_CHECKING:
    from airflow_provider_mlops.oci.client import RegistryRepository


def location_of(info: ConnectionInfo) -> str:
    """Registry host of the connection, or its ``file://`` folder: what references may be relative to.

    :raises ConnectionIncomplete: the host is neither.
    """
    if info.host and info.host.startswith(LAYOUT_SCHEME):
        return info.host.rstrip("/")
    return urlsplit(registry_url(info)).netloc


def registry_url(info: ConnectionInfo) -> str:
    """Scheme, host and port of the connection's registry. Plain http only where that is allowed.

    :raises ConnectionIncomplete: no host, a path behind it, or http without ``allow_http``.
    """
    allow_http = info.flag("allow_http", default=False)
    host = urlsplit(f"//{(info.host or '').rpartition('://')[2]}").hostname
    plain = may_use_http(host, allow_http=allow_http)
    url = info.base_url(default_scheme="http" if plain else "https")
    parts = urlsplit(url)
    if parts.path:
        raise ConnectionIncomplete(
            f"Connection {info.conn_id!r}: {info.host!r} has a path behind the registry's host",
            next_step="Keep the host only; the path belongs to the repository.",
            conn_id=info.conn_id,
        )
    if parts.scheme == "http" and not plain:
        raise ConnectionIncomplete(
            f"Connection {info.conn_id!r}: plain http to {host} would show the password to the network",
            next_step="Use https, or set allow_http in the connection.",
            conn_id=info.conn_id,
        )
    return url


def open_store(reference: Reference, info: ConnectionInfo | None = None) -> ImageStore:
    """Open the repository of a reference.

    :param info: connection for a registry. It is only used for its own host: credentials never go elsewhere.
        A layout folder needs none.
    :raises InvalidReference: the reference lies in another registry than the connection.
    """
    if reference.is_layout:
        return LayoutRepository(Path(reference.path))
    if info is None:
        raise InvalidReference(f"{reference.repository} lies in a registry, and no connection was given")
    return _registry(reference, info)


def check_location(info: ConnectionInfo) -> str:
    """Reach the registry with the connection's credentials, or find its folder writable; changes nothing.

    :return: the registry's host, or the folder.
    :raises MlopsError: why that does not work.
    """
    location = location_of(info)
    # No repository is touched; any legal name will do.
    reference = Reference.parse("connection-test", location=location)
    if reference.is_layout:
        LayoutRepository(Path(reference.path)).check_writable()
    else:
        _registry(reference, info).ping()
    return location


def _registry(reference: Reference, info: ConnectionInfo) -> RegistryRepository:
    # Here and not above: requests is not needed to parse a DAG.
    from airflow_provider_mlops.oci.client import RegistryRepository

    location = location_of(info)
    if location != reference.host:
        raise InvalidReference(
            f"{reference.repository} does not lie in {location}, the registry of connection {info.conn_id!r}",
            next_step=f"Name a connection whose host is {reference.host} in oci_conn_id.",
        )
    return RegistryRepository(
        registry_url(info),
        reference.path,
        login=info.login,
        password=info.password,
        conn_id=info.conn_id,
        verify=info.verify,
        allow_http=info.flag("allow_http", default=False),
    )
