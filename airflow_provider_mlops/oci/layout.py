"""One repository as an OCI image layout folder: what a registry keeps, on a shared disk and without a server.

Tags are ``org.opencontainers.image.ref.name`` annotations in ``index.json``, so that skopeo, podman and
buildah read the folder as ``oci:FOLDER:TAG``. Every file appears whole (temporary file, fsync, rename);
``index.json`` changes under a lock. Readers need no lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_mlops.errors import MlopsError, StorageUnwritable
from airflow_provider_mlops.oci.errors import ImageNotFound, LayoutCorrupt, LayoutFull
from airflow_provider_mlops.oci.image_store import CHUNK, IMAGE_INDEX, IMAGE_MANIFEST, ImageStore, Manifest
from airflow_provider_mlops.oci.reference import LAYOUT_SCHEME, is_digest

REF_NAME = "org.opencontainers.image.ref.name"
_ABSENT = (FileNotFoundError, NotADirectoryError)
_MARKER = {"imageLayoutVersion": "1.0.0"}
# EFBIG: the quota that a file size limit sets shows up under its own number.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class LayoutRepository:
    """An :class:`~airflow_provider_mlops.oci.image_store.ImageStore` in a folder. The first write creates it.

    :param folder: absolute path; its last part is the name of the repository.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<LayoutRepository {self._folder}>"

    @property
    def repository(self) -> str:
        """``file:///folder/name``."""
        return f"{LAYOUT_SCHEME}{self._folder}"

    def digest_of(self, selector: str) -> str | None:
        """See :class:`ImageStore`."""
        if is_digest(selector):
            return selector if self._blob(selector).is_file() else None
        for entry in self._entries():
            if _tag_of(entry) == selector:
                return str(entry["digest"])
        return None

    def get_manifest(self, selector: str) -> Manifest:
        """See :class:`ImageStore`."""
        digest = self.digest_of(selector)
        if digest is None:
            raise ImageNotFound(
                f"Image {self.repository}{'@' if is_digest(selector) else ':'}{selector} is not there",
                repository=self.repository,
                selector=selector,
            )
        content = b"".join(self.read_blob(digest))
        known = next((entry["mediaType"] for entry in self._entries() if entry["digest"] == digest), None)
        return Manifest(digest, known or _media_type(content), content)

    def put_manifest(self, manifest: Manifest, selector: str) -> None:
        """See :class:`ImageStore`."""
        with self._writing():
            self._create()
            self._write(self._blob(manifest.digest), manifest.content)
            with self._locked():
                self._write(self._folder / "index.json", self._index_with(manifest, selector))

    def tags(self) -> list[str]:
        """See :class:`ImageStore`."""
        return [tag for entry in self._entries() if (tag := _tag_of(entry)) is not None]

    def has_blob(self, digest: str) -> bool:
        """See :class:`ImageStore`. The content is read: a truncated file is not a blob."""
        try:
            return f"sha256:{_file_hash(self._blob(digest))}" == digest
        except _ABSENT:
            return False

    def read_blob(self, digest: str) -> Iterator[bytes]:
        """See :class:`ImageStore`."""
        found = hashlib.sha256()
        try:
            with self._blob(digest).open("rb") as file:
                while piece := file.read(CHUNK):
                    found.update(piece)
                    yield piece
        except _ABSENT as error:
            raise ImageNotFound(
                f"Blob {digest} of {self.repository} is not there",
                repository=self.repository,
                selector=digest,
            ) from error
        if f"sha256:{found.hexdigest()}" != digest:
            raise LayoutCorrupt(
                f"Blob {digest} of {self.repository} is damaged", file=str(self._blob(digest))
            )

    def write_blob(self, digest: str, source: BinaryIO) -> None:
        """See :class:`ImageStore`."""
        if self.has_blob(digest):
            return
        with self._writing():
            self._create()
            self._write(self._blob(digest), source)

    def take_blob(self, digest: str, source: ImageStore) -> bool:
        """See :class:`ImageStore`: never possible, folders may lie on different disks."""
        return False

    def check_writable(self) -> None:
        """See :class:`ImageStore`. Asks the nearest existing folder, so that nothing is created."""
        folder = self._folder
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise StorageUnwritable(
                f"Image layout {self.repository}: {folder} is not a folder that can be written"
            )

    def _create(self) -> None:
        (self._folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        marker = self._folder / "oci-layout"
        if not marker.exists():
            self._write(marker, json.dumps(_MARKER).encode())

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _entries(self) -> list[dict[str, Any]]:
        file = self._folder / "index.json"
        try:
            entries: list[dict[str, Any]] = json.loads(file.read_bytes())["manifests"]
        except _ABSENT:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise LayoutCorrupt(
                f"Image layout {self.repository}: index.json is damaged ({error})",
                next_step="Put index.json back from a backup; the blobs are not affected.",
            ) from error
        return entries

    def _index_with(self, manifest: Manifest, selector: str) -> bytes:
        tag = None if is_digest(selector) else selector
        entries = self._entries()
        descriptor: dict[str, Any] = {
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": len(manifest.content),
        }
        if tag is not None:
            descriptor["annotations"] = {REF_NAME: tag}
            # A tag replaces its old entry, and the nameless one that a put by digest has left.
            entries = [
                entry
                for entry in entries
                if _tag_of(entry) != tag
                and not (_tag_of(entry) is None and entry["digest"] == manifest.digest)
            ]
            entries.append(descriptor)
        elif all(entry["digest"] != manifest.digest for entry in entries):
            entries.append(descriptor)
        index = {"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": entries}
        return json.dumps(index, indent=1).encode()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("a") as file:
            # The kernel frees it when the process dies, so no writer can block the next for ever.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, target: Path, content: bytes | BinaryIO) -> None:
        temporary = target.with_name(f".{target.name[:80]}.{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    while piece := content.read(CHUNK):
                        file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._typed(error) from error

    def _typed(self, error: OSError) -> MlopsError:
        if error.errno in _NO_SPACE:
            return LayoutFull(f"Image layout {self.repository}: {error.strerror}")
        return StorageUnwritable(f"Image layout {self.repository}: {error.strerror or error}")


def _tag_of(entry: dict[str, Any]) -> str | None:
    name: str | None = entry.get("annotations", {}).get(REF_NAME)
    return name


def _media_type(content: bytes) -> str:
    try:
        return str(json.loads(content).get("mediaType", IMAGE_MANIFEST))
    except (ValueError, AttributeError) as error:
        raise LayoutCorrupt("The digest names a blob that is not a manifest") from error


def _file_hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            found.update(piece)
    return found.hexdigest()
