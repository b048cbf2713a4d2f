"""The files of an ONNX embedding model: which they are, and the hash of what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.errors import EmbedderModelMissing

TOKENIZER = "tokenizer.json"
#: Where exporters put the model, in the order of preference.
DEFAULT_MODELS = ("model.onnx", "onnx/model.onnx")
#: Weights beyond 2 GB lie beside the model, in a file of this name.
_WEIGHTS_SUFFIX = "_data"
_BLOCK = 1 << 20


def check_file_name(name: str) -> None:
    """Whether ``name`` can be the path of a model inside its folder.

    :raises InvalidArgument: it leads outside, or is no ONNX file.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".onnx":
        raise InvalidArgument(
            f"OnnxEmbedder: file {name!r} is not an .onnx file inside the model's folder",
            next_step="Give a relative path, such as 'onnx/model_quantized.onnx'.",
        )


def model_files(folder: Any, file: str | None) -> dict[str, str]:
    """Role (``model``, ``weights``, ``tokenizer``) to the path inside the folder.

    :param folder: ``pathlib.Path``, or an object store path that works like one.
    :param file: the model inside the folder; default: the first of :data:`DEFAULT_MODELS` that is there.
    :raises EmbedderModelMissing: the model or its tokenizer is not there.
    """
    wanted = (file,) if file else DEFAULT_MODELS
    model = next((name for name in wanted if (folder / name).is_file()), None)
    if model is None:
        raise EmbedderModelMissing(
            f"Embedding model {str(folder)!r} has no {' and no '.join(wanted)}", folder=str(folder)
        )
    if not (folder / TOKENIZER).is_file():
        raise EmbedderModelMissing(f"Embedding model {str(folder)!r} has no {TOKENIZER}", folder=str(folder))
    weights = model + _WEIGHTS_SUFFIX
    return {
        "model": model,
        "tokenizer": TOKENIZER,
        **({"weights": weights} if (folder / weights).is_file() else {}),
    }


def content_hash(folder: Path, files: Mapping[str, str]) -> str:
    """SHA-256, in hex, over what the files of each role hold, wherever they lie."""
    found = {role: _file_hash(folder / name) for role, name in sorted(files.items())}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_of(os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _hash_of(path: str, _inode: int, _size: int, _changed: int) -> str:
    """A model is hashed once per process, unless the file has been replaced."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
