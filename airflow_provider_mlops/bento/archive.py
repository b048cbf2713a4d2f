"""Bento archives: a normalised ``.tar``, the same bytes for the same Bento, and its safe unpacking."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from airflow_provider_mlops.bento.errors import ArchiveDamaged

#: Where an archive keeps each of its models, as BentoML looks for them beside ``bento.yaml``.
_MODELS = "models"

# BentoML writes the time of the build into these files only; the value is an ISO time, quoted or not.
_TIMED_FILES = re.compile(r"bento\.yaml|models/[^/]+/[^/]+/model\.yaml")
_CREATION_TIME = re.compile(rb"^(\s*(?:- )?creation_time: )['\"]?\d{4}-\d\d-\d\d[T ][^\r\n]*$", re.MULTILINE)
_FIXED_TIME = rb"\g<1>'1980-01-01T00:00:00.000000+00:00'"
_FIXED_MTIME = 315532800  # the same instant: 1980 is the first year that every archive format can hold

_BLOCK = 1 << 20


def bento_files(bento: Path, models: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file of an archive, sorted: its path inside, and where it is now.

    :param bento: folder of the built Bento.
    :param models: tag (``name:version``) to the folder of each model.
    """
    found = dict(_files(bento, PurePosixPath()))
    for tag, folder in models.items():
        name, _, version = tag.partition(":")
        found.update(_files(folder, PurePosixPath(_MODELS, name, version)))
    yield from sorted(found.items())


def _files(root: Path, prefix: PurePosixPath) -> Iterator[tuple[str, Path]]:
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if "__pycache__" in relative.parts or (path.is_dir() and not path.is_symlink()):
            continue
        yield str(prefix / relative.as_posix()), path


def write_archive(target: BinaryIO, bento: Path, models: Mapping[str, Path]) -> None:
    """Write a Bento with its models as an uncompressed tar in normal form.

    Neither times, owners nor the umask of the build show in it. Each model gets the ``latest`` file by
    which a service finds ``name:latest``.
    """
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in bento_files(bento, models):
            _add(tar, name, path)
        for tag in sorted(models):
            model, _, version = tag.partition(":")
            _add_bytes(tar, f"{_MODELS}/{model}/latest", version.encode())


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    if path.is_symlink():
        entry = _entry(name)
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        tar.addfile(entry)
    elif _TIMED_FILES.fullmatch(name):
        _add_bytes(tar, name, _CREATION_TIME.sub(_FIXED_TIME, path.read_bytes()))
    else:
        with path.open("rb") as content:
            entry = _entry(name, executable=bool(path.stat().st_mode & stat.S_IXUSR))
            entry.size = path.stat().st_size
            tar.addfile(entry, content)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = _entry(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _entry(name: str, *, executable: bool = False) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = _FIXED_MTIME
    entry.mode = 0o755 if executable else 0o644
    return entry


def digest(stream: BinaryIO) -> str:
    """``sha256:`` and the hex digest of what is left in the stream."""
    found = hashlib.sha256()
    while block := stream.read(_BLOCK):
        found.update(block)
    return f"sha256:{found.hexdigest()}"


def unpack_archive(archive: BinaryIO, folder: Path) -> None:
    """Unpack a Bento archive; nothing is written outside ``folder``.

    :raises ArchiveDamaged: not a tar, truncated, without a ``bento.yaml``, or with a member that leads outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ArchiveDamaged(f"Bento archive cannot be unpacked into {folder}: {error}") from error
    if not (folder / "bento.yaml").is_file():
        raise ArchiveDamaged(f"The archive unpacked into {folder} holds no bento.yaml: it is no Bento")
