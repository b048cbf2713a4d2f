"""LangChain and LlamaIndex with what they read vector stores with, in a Python environment without Airflow."""

from __future__ import annotations

from pathlib import Path

from tests.servers.base import Program
from tests.servers.install import cache_folder, python_install

LANGCHAIN, LLAMA_INDEX = "1.8.3", "0.14.25"
PACKAGES = (
    f"langchain-core=={LANGCHAIN}",
    "langchain-weaviate==0.0.8",
    f"llama-index-core=={LLAMA_INDEX}",
    "llama-index-vector-stores-weaviate==1.7.1",
    "lancedb==0.40.0",
    "weaviate-client==4.24.1",
    "numpy>=1.26",
)


class Retrievers(Program):
    """Not a server, but got, counted and required like one."""

    name = "retrievers"

    @classmethod
    def version(cls) -> str:
        return f"{LANGCHAIN}-{LLAMA_INDEX}"

    @classmethod
    def python(cls) -> Path:
        """The environment's interpreter."""
        return cache_folder(cls.name, cls.version()) / "bin" / "python"

    @classmethod
    def missing(cls) -> str | None:
        if cls.python().exists():
            return None
        return f"not built; run: python -m tests.servers build {cls.name}"

    @classmethod
    def build(cls) -> None:
        python_install(cache_folder(cls.name, cls.version()), *PACKAGES)
