"""Weaviate, single node, built from its Go module."""

from __future__ import annotations

from pathlib import Path

from tests.servers.base import Server, answers
from tests.servers.install import cache_folder, go_install
from tests.servers.ports import accepts

VERSION = "1.38.11"


class Weaviate(Server):
    """Anonymous access; ``text2vec-bigram`` vectorises without any outside service."""

    name = "weaviate"
    port_count = 7

    @classmethod
    def version(cls) -> str:
        return VERSION

    @classmethod
    def _binary(cls) -> Path:
        return cache_folder(cls.name, VERSION) / "weaviate-server"

    @classmethod
    def missing(cls) -> str | None:
        if cls._binary().is_file():
            return None
        return f"not built; run: python -m tests.servers build {cls.name}"

    @classmethod
    def build(cls) -> None:
        package = "github.com/weaviate/weaviate/cmd/weaviate-server"
        go_install(package, f"v{VERSION}", cache_folder(cls.name, VERSION), tags="netgo")

    @property
    def ports(self) -> dict[str, int]:
        # Two pairs must be neighbours: data is gossip + 1, and Raft's internal port is Raft's + 1.
        names = ("http", "grpc", "gossip", "data", "raft", "raft_internal", "profiling")
        return {name: self.first_port + offset for offset, name in enumerate(names)}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.ports['http']}"

    def command(self) -> list[str]:
        port = str(self.ports["http"])
        return [str(self._binary()), "--host", self.host, "--port", port, "--scheme", "http"]

    def settings(self) -> dict[str, str]:
        ports = {name: str(port) for name, port in self.ports.items()}
        return {
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "DISABLE_TELEMETRY": "true",
            "CLUSTER_HOSTNAME": "node1",
            "CLUSTER_IN_LOCALHOST": "true",
            "CLUSTER_GOSSIP_BIND_PORT": ports["gossip"],
            "CLUSTER_DATA_BIND_PORT": ports["data"],
            "RAFT_PORT": ports["raft"],
            "RAFT_INTERNAL_RPC_PORT": ports["raft_internal"],
            "RAFT_JOIN": f"node1:{ports['raft']}",
            "RAFT_BOOTSTRAP_EXPECT": "1",
            "GRPC_PORT": ports["grpc"],
            "PROFILING_PORT": ports["profiling"],
            "GO_PROFILING_DISABLE": "true",
            "QUERY_DEFAULTS_LIMIT": "20",
            "ENABLE_MODULES": "text2vec-bigram,backup-filesystem",
            "BACKUP_FILESYSTEM_PATH": str(self.folder / "backup"),
        }

    def ready(self) -> bool:
        return answers(f"{self.url}/v1/.well-known/ready") and accepts(self.ports["grpc"])
