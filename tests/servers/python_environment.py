"""Python environments without Airflow, in which this package's code has to work as well."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tests.servers.base import Program
from tests.servers.install import cache_folder, python_install

# What the shard stage needs, of the versions that this package is developed with.
STORES = ("lancedb==0.40.0", "weaviate-client==4.23.1", "numpy", "pyarrow")


class PythonEnvironment(Program):
    """Not a server, but got, counted and required like one."""

    requirements: ClassVar[tuple[str, ...]]

    @classmethod
    def python(cls) -> Path:
        """Its interpreter."""
        return cache_folder(cls.name, cls.version()) / "bin" / "python"

    @classmethod
    def missing(cls) -> str | None:
        if cls.python().exists():
            return None
        return f"not built; run: python -m tests.servers build {cls.name}"

    @classmethod
    def build(cls) -> None:
        python_install(cache_folder(cls.name, cls.version()), *cls.requirements)
