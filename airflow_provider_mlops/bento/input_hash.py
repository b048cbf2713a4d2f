"""Identity of a build, known before it runs: the same input gives the same version, so it is built once.

Left out on purpose: when, where and by whom it is built, the absolute path of the context, and the
Bento's environment beyond BentoML and Python, which do not change the archive.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_mlops.bento.build_request import AUTO_VERSION, BuildRequest
from airflow_provider_mlops.bento.context_folder import ContextFolder, SourceFile

#: Changes whenever the archive's layout or normal form does, so that old archives are not reused.
SCHEMA = 1

_VERSION_DIGITS = 16


def input_hash(
    request: BuildRequest,
    context: ContextFolder,
    models: Mapping[str, str],
    *,
    bentoml: str,
    python: str,
) -> str:
    """SHA-256, in hex, of everything that decides what the Bento holds.

    :param models: model name to content hash (:func:`tree_hash`).
    :param bentoml: version of BentoML in the isolated environment.
    :param python: its Python version.
    """
    return _digest(
        {
            "schema": SCHEMA,
            "files": _entries(context.files),
            "options": context.options,
            "service": context.service,
            "name": context.name,
            # An explicit version is written into the Bento; an automatic one is this very hash.
            "version": None if request.version == AUTO_VERSION else request.version,
            "labels": request.labels,
            "args": request.args,
            "lock": request.lock,
            "models": models,
            "bentoml": bentoml,
            "python": python,
        }
    )


def tree_hash(files: Iterable[SourceFile]) -> str:
    """SHA-256, in hex, of a set of files: their paths, executable bits and contents."""
    return _digest(_entries(files))


def automatic_version(digest: str) -> str:
    """Version of a Bento with that input hash."""
    return f"h-{digest[:_VERSION_DIGITS]}"


def model_version(digest: str) -> str:
    """Version of an imported model with that content hash."""
    return digest[:_VERSION_DIGITS]


def _entries(files: Iterable[SourceFile]) -> list[list[Any]]:
    return sorted([file.path, file.executable, file.sha256] for file in files)


def _digest(document: object) -> str:
    canonical = json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: object) -> Any:
    # YAML knows dates and keys that are not text; JSON does not. Their text is as good an identity.
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
