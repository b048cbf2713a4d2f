"""A Bento as an image that holds files only: what its layer, config and manifest look like.

There is no operating system and no interpreter in it, so it can be read, copied and mounted, but not run.
It is a real image manifest with a real config all the same, because registries, skopeo and podman of
today's distributions refuse bare artifact manifests.

The same Bento gives the same bytes: names sorted; owners, times and modes normalised; gzip without a time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from airflow_provider_mlops.oci.errors import BentoArchiveInvalid
from airflow_provider_mlops.oci.image_store import (
    IMAGE_CONFIG,
    IMAGE_LAYER_GZIP,
    IMAGE_MANIFEST,
    Manifest,
    sha256_digest,
)

#: Where BentoML's own images keep the Bento.
BENTO_ROOT = PurePosixPath("home/bentoml/bento")
KIND = "Bento image (files only, no operating system): mountable, not runnable"

_TITLE = "org.opencontainers.image.title"
_VERSION = "org.opencontainers.image.version"
_DESCRIPTION = "org.opencontainers.image.description"
_EPOCH = "1970-01-01T00:00:00Z"
# Left behind by whoever served or imported from an unpacked Bento; not part of it.
_NOT_CONTENT = "__pycache__"


@dataclass(frozen=True, slots=True)
class BentoLayer:
    """The one layer of the image.

    :param diff_id: digest of the uncompressed layer: depends on the Bento alone, not on the gzip library.
    :param digest: digest of the compressed layer.
    :param size: bytes of the compressed layer.
    :param name: name of the Bento.
    :param version: version of the Bento.
    """

    diff_id: str
    digest: str
    size: int
    name: str
    version: str


def write_layer(archive: tarfile.TarFile, target: BinaryIO) -> BentoLayer:
    """Write the layer of a Bento archive.

    :param archive: opened archive with ``bento.yaml`` at its top, or in its only top folder.
    :param target: writable binary file that receives the compressed layer.
    :raises BentoArchiveInvalid: no Bento, or an entry that would leave its folder or is no file.
    """
    label = f"Bento archive {archive.name!s}"
    members = _members(archive, label)
    name, version = _identity(archive, members, label)
    packed = _Counted(target)
    with gzip.GzipFile(filename="", mode="wb", fileobj=cast(BinaryIO, packed), mtime=0) as compressed:
        plain = _Counted(compressed)
        with tarfile.open(fileobj=cast(BinaryIO, plain), mode="w|", format=tarfile.PAX_FORMAT) as layer:
            for folder in (*reversed(BENTO_ROOT.parents[:-1]), BENTO_ROOT):
                layer.addfile(_normalised(tarfile.TarInfo(str(folder)), tarfile.DIRTYPE))
            for path, member in sorted(members.items()):
                entry = tarfile.TarInfo(str(BENTO_ROOT / path))
                entry.linkname = member.linkname if member.issym() else ""
                entry.mode = member.mode
                entry.size = member.size if member.isreg() else 0
                content = archive.extractfile(member) if member.isreg() else None
                layer.addfile(_normalised(entry, member.type), content)
    return BentoLayer(plain.digest, packed.digest, packed.size, name, version)


def config_and_manifest(layer: BentoLayer) -> tuple[bytes, Manifest]:
    """Image config and image manifest for a layer."""
    labels = {_TITLE: layer.name, _VERSION: layer.version, _DESCRIPTION: KIND}
    config = _canonical(
        {
            "created": _EPOCH,
            # Required by the specification; the files are the same on every machine.
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": labels, "WorkingDir": f"/{BENTO_ROOT}"},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
            "history": [{"created": _EPOCH, "created_by": "airflow-provider-mlops", "comment": KIND}],
        }
    )
    manifest = _canonical(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": {"mediaType": IMAGE_CONFIG, "digest": sha256_digest(config), "size": len(config)},
            "layers": [{"mediaType": IMAGE_LAYER_GZIP, "digest": layer.digest, "size": layer.size}],
            "annotations": labels,
        }
    )
    return config, Manifest.of(manifest, IMAGE_MANIFEST)


def bento_members(layer: tarfile.TarFile) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo]]:
    """The Bento's entries of an image layer, with their paths inside the Bento."""
    for member in layer:
        path = PurePosixPath(member.name.lstrip("/"))
        if path.is_relative_to(BENTO_ROOT) and path != BENTO_ROOT:
            yield path.relative_to(BENTO_ROOT), member


def _members(archive: tarfile.TarFile, label: str) -> dict[PurePosixPath, tarfile.TarInfo]:
    found: dict[PurePosixPath, tarfile.TarInfo] = {}
    for member in archive.getmembers():
        path = PurePosixPath(member.name)
        if path == PurePosixPath() or _NOT_CONTENT in path.parts:
            continue
        if (
            path.is_absolute()
            or ".." in path.parts
            or not (member.isreg() or member.isdir() or member.issym())
        ):
            raise BentoArchiveInvalid(f"{label}: entry {member.name!r} does not belong into a Bento")
        if member.issym() and not _stays_inside(path, member.linkname):
            raise BentoArchiveInvalid(
                f"{label}: link {member.name!r} points out of the Bento, to {member.linkname!r}"
            )
        found[path] = member
    if PurePosixPath("bento.yaml") in found:
        return found
    tops = {path.parts[0] for path in found}
    top = tops.pop() if len(tops) == 1 else ""
    if PurePosixPath(top, "bento.yaml") not in found:
        raise BentoArchiveInvalid(f"{label} has no bento.yaml")
    return {path.relative_to(top): member for path, member in found.items() if len(path.parts) > 1}


def _stays_inside(path: PurePosixPath, target: str) -> bool:
    if target.startswith("/"):
        return False
    depth = len(path.parts) - 1
    for part in PurePosixPath(target).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True


def _identity(
    archive: tarfile.TarFile, members: dict[PurePosixPath, tarfile.TarInfo], label: str
) -> tuple[str, str]:
    import yaml

    file = archive.extractfile(members[PurePosixPath("bento.yaml")])
    try:
        data: Any = yaml.safe_load(file.read()) if file else None
        return str(data["name"]), str(data["version"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise BentoArchiveInvalid(f"{label}: bento.yaml has no name and version") from error


def _normalised(entry: tarfile.TarInfo, kind: bytes) -> tarfile.TarInfo:
    entry.type = tarfile.REGTYPE if kind in tarfile.REGULAR_TYPES else kind
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    # Whoever mounts the image has another user than whoever built it, so everybody may read.
    runs = entry.mode & 0o100 if entry.type == tarfile.REGTYPE else True
    entry.mode = 0o755 if runs else 0o644
    return entry


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


class _Counted(io.RawIOBase):
    """Passes writes on, counting and hashing them."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"
