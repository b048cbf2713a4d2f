"""Every server, and other program, that tests may ask for."""

from __future__ import annotations

from tests.servers.base import Program, Server
from tests.servers.minilm import MiniLM
from tests.servers.mlflow import Mlflow
from tests.servers.postgres import Postgres
from tests.servers.ray import Ray
from tests.servers.registry import Registry
from tests.servers.retrievers import Retrievers
from tests.servers.spark import Spark
from tests.servers.weaviate import Weaviate

SERVERS: dict[str, type[Server]] = {server.name: server for server in (Mlflow, Postgres, Registry, Weaviate)}
PROGRAMS: dict[str, type[Program]] = {
    **SERVERS,
    **{program.name: program for program in (MiniLM, Ray, Retrievers, Spark)},
}
