"""Model folders of an object store, fetched once to this worker's disk.

What was fetched lies below the hash of its content, so two URIs with the same model share it, and half a
download has no name. ``refs`` remembers which content a URI had, as long as the object store reports the same
files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_mlops.errors import RemoteUnavailable, StorageUnwritable
from airflow_provider_mlops.vector.embedders.onnx_files import content_hash, model_files

_BLOCK = 1 << 20


def default_cache() -> Path:
    """``$XDG_CACHE_HOME`` or ``~/.cache``, then ``airflow-provider-mlops/models``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "airflow-provider-mlops" / "models"


def fetch_model(place: Any, file: str | None, cache: Path | None = None) -> Path:
    """A local folder with the model's files: from the cache, else copied there now.

    Safe with several processes at once (the second waits for the first) and when killed in the middle.

    :param place: object store path of the model's folder.
    :param file: the model inside it; see :func:`.onnx_files.model_files`.
    :param cache: folder on this disk; default: :func:`default_cache`.
    :raises EmbedderModelMissing: the model or its tokenizer is not there.
    :raises RemoteUnavailable: it could not be read to its end, or changed meanwhile.
    :raises StorageUnwritable: the cache cannot be written.
    """
    cache = cache or default_cache()
    with _reading(place):
        files = model_files(place, file)
        state = _state(place, files)
    with _writing(cache):
        (cache / "refs").mkdir(parents=True, exist_ok=True)
        with _locked(cache / "refs" / f"{state}.lock"):
            return _known(cache, state, files) or _fetch(cache, state, place, files)


def _state(place: Any, files: Mapping[str, str]) -> str:
    """Which files these are, as far as the object store tells without handing them over."""
    seen = {name: str(_checksum(place / name)) for name in files.values()}
    return hashlib.sha256(json.dumps([str(place), seen], sort_keys=True).encode()).hexdigest()[:32]


def _checksum(path: Any) -> object:
    return path.fs.checksum(path.path)


def _known(cache: Path, state: str, files: Mapping[str, str]) -> Path | None:
    try:
        folder = cache / (cache / "refs" / state).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return folder if _whole(folder, files) else None


def _fetch(cache: Path, state: str, place: Any, files: Mapping[str, str]) -> Path:
    for stale in cache.glob(f".{state}.*"):
        shutil.rmtree(stale)  # of a process that was killed; we hold the lock
    draft = Path(tempfile.mkdtemp(prefix=f".{state}.", dir=cache))
    try:
        for name in files.values():
            _copy(place / name, draft / name)
        with _reading(place):
            if _state(place, files) != state:
                raise RemoteUnavailable(f"Embedding model {str(place)!r} was changed while it was fetched")
        folder = cache / _address(draft, files)
        with _locked(cache / "refs" / f"{folder.name}.lock"):
            if not _whole(folder, files):
                shutil.rmtree(folder, ignore_errors=True)
                draft.chmod(0o755)
                draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _write_ref(cache / "refs" / state, folder.name)
    return folder


def _address(folder: Path, files: Mapping[str, str]) -> str:
    """Name of a folder with these files: unlike the model's identity it depends on where they lie inside."""
    return content_hash(folder, {name: name for name in files.values()})


def _whole(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether the folder holds what its name promises: disks lose bytes, and people tidy up caches."""
    try:
        return _address(folder, files) == folder.name
    except FileNotFoundError:
        return False


def _copy(source: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _reading(source):
        size = source.stat().st_size
    copied = 0
    with target.open("wb") as out:
        for block in _blocks(source):
            out.write(block)
            copied += len(block)
        out.flush()
        os.fsync(out.fileno())
    if copied != size:
        raise RemoteUnavailable(f"{str(source)!r} ended after {copied} of {size} bytes")


def _blocks(source: Any) -> Iterator[bytes]:
    with _reading(source), source.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block


def _write_ref(path: Path, content: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(content, encoding="ascii")
    draft.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _reading(place: Any) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RemoteUnavailable(f"{str(place)!r} cannot be read: {error}") from error


@contextmanager
def _writing(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnwritable(
            f"Model cache {str(cache)!r}: {error}",
            next_step="Free or add disk space, or point XDG_CACHE_HOME of the worker to a writable folder.",
        ) from error
