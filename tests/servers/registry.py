"""The OCI registry of Debian (CNCF Distribution), over plain HTTP on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.servers.base import Server, answers
from tests.servers.install import apt_install

PROGRAM = "docker-registry"


class Registry(Server):
    """Deletes are allowed. Any setting can be changed by its ``REGISTRY_...`` variable."""

    name = "registry"
    start_timeout = 20.0

    @classmethod
    def version(cls) -> str:
        if shutil.which(PROGRAM) is None:
            return "2.8"
        said = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout
        return said.split()[-1].partition("+")[0]

    @classmethod
    def missing(cls) -> str | None:
        return (
            None if shutil.which(PROGRAM) else f"{PROGRAM} is not on PATH; install Debian's package {PROGRAM}"
        )

    @classmethod
    def build(cls) -> None:
        if cls.missing():
            apt_install(PROGRAM)

    @property
    def ports(self) -> dict[str, int]:
        return {"http": self.first_port}

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def address(self) -> str:
        """``host:port``, the first part of image references."""
        return f"{self.host}:{self.first_port}"

    def prepare(self) -> None:
        settings = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.address, "secret": "only-for-tests"},
        }
        (self.folder / "config.yml").write_text(json.dumps(settings))

    def command(self) -> list[str]:
        return [PROGRAM, "serve", str(self.folder / "config.yml")]

    def ready(self) -> bool:
        return answers(f"{self.url}/")
