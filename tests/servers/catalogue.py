"""Every server that tests may ask for."""

from __future__ import annotations

from tests.servers.base import Server
from tests.servers.postgres import Postgres
from tests.servers.registry import Registry
from tests.servers.weaviate import Weaviate

SERVERS: dict[str, type[Server]] = {server.name: server for server in (Postgres, Registry, Weaviate)}
