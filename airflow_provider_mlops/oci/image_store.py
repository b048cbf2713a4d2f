"""What a registry and a layout folder have in common: one repository of images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, Self

IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

#: A registry converts or refuses what is not in ``Accept``, so all types are always named.
MANIFEST_TYPES = (IMAGE_INDEX, DOCKER_MANIFEST_LIST, IMAGE_MANIFEST, DOCKER_MANIFEST)

CHUNK = 1 << 20


def sha256_digest(content: bytes) -> str:
    """``sha256:<hex>`` of the bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index exactly as it was stored; tagging it again must not change one byte.

    :param digest: sha256 of ``content``.
    """

    digest: str
    media_type: str
    content: bytes

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Self:
        """Manifest with its digest computed."""
        return cls(sha256_digest(content), media_type, content)

    @property
    def data(self) -> Mapping[str, Any]:
        """The decoded JSON."""
        decoded: Mapping[str, Any] = json.loads(self.content)
        return decoded


class ImageStore(Protocol):
    """One repository. All methods raise errors of the package's tree, nothing else."""

    @property
    def repository(self) -> str:
        """``host/path``, or ``file:///folder/name``."""
        ...

    def digest_of(self, selector: str) -> str | None:
        """Digest that a tag names (or of a digest that is there); ``None`` if there is none."""
        ...

    def get_manifest(self, selector: str) -> Manifest:
        """Manifest of a tag or digest, checked against its digest.

        :raises ImageNotFound: there is none.
        """
        ...

    def put_manifest(self, manifest: Manifest, selector: str) -> None:
        """Store the bytes under a tag or under their own digest. Repeatable."""
        ...

    def tags(self) -> list[str]:
        """All tags; empty for a repository that does not exist yet."""
        ...

    def has_blob(self, digest: str) -> bool:
        """Whether a whole blob is there."""
        ...

    def read_blob(self, digest: str) -> Iterator[bytes]:
        """Content in pieces. The digest is checked at the end: use nothing before the iterator is exhausted.

        :raises ImageNotFound: there is none.
        """
        ...

    def write_blob(self, digest: str, source: BinaryIO) -> None:
        """Store a blob from a seekable binary file at its start. Repeatable."""
        ...

    def take_blob(self, digest: str, source: ImageStore) -> bool:
        """Take a blob over from another repository without moving its bytes.

        :return: ``False`` if that is not possible; the blob has to be read and written then.
        """
        ...

    def check_writable(self) -> None:
        """Fail if nothing could be stored here; changes nothing.

        :raises PermissionDenied: the account may not push.
        :raises StorageUnwritable: the folder cannot be written.
        """
        ...
