"""The steps that move production, in their order. Each can be repeated without harm.

The order over all stations is: values commit, healthy sync, served version, index alias, image channel
tag, record. A station takes its place in it by giving its step a place in :func:`steps_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.oci.errors import ImageNotFound
from airflow_provider_mlops.oci.image_argument import image_reference, is_runnable
from airflow_provider_mlops.oci.image_store import ImageStore
from airflow_provider_mlops.oci.promotion import promote
from airflow_provider_mlops.oci.reference import Reference
from airflow_provider_mlops.oci.tag_policy import check_channel
from airflow_provider_mlops.payloads import SCHEMA
from airflow_provider_mlops.vector.activate import IndexRef, activate
from airflow_provider_mlops.vector.errors import VersionIncomplete, VersionMissing
from airflow_provider_mlops.vector.stores import open_store

IMAGE, INDEX = "oci.image", "vector.index"

Connections = Callable[[str], ConnectionInfo]
Images = Callable[[Reference], ImageStore]


class Step(Protocol):
    """One effect on production."""

    @property
    def name(self) -> str:
        """Name in the journal; the same for every run that makes the same release."""
        ...

    def check(self) -> None:
        """Fail if the step cannot succeed. Changes nothing; all steps are checked before the first one."""
        ...

    def apply(self) -> Mapping[str, Any]:
        """Have the effect; harmless if it is there already. Returns what the journal keeps."""
        ...


class IndexStep:
    """Makes a version of a vector index the live one.

    :param connections: looks a connection up by its id.
    """

    def __init__(self, part: str, payload: Mapping[str, Any], connections: Connections) -> None:
        self.name = f"index:{part}"
        self._ref = IndexRef.from_payload(payload)
        self._connections = connections

    def check(self) -> None:
        """See :class:`Step`."""
        ref = self._ref
        with open_store(
            ref.backend, ref.index, conn_id=ref.conn_id, uri=ref.uri, connections=self._connections
        ) as store:
            known = {version.name: version for version in store.versions()}
        if ref.version not in known:
            raise VersionMissing(
                f"Index {ref.index!r} has no version {ref.version} (any more)", index=ref.index
            )
        if known[ref.version].state != "built":
            raise VersionIncomplete(
                f"Version {ref.version} of index {ref.index!r} is {known[ref.version].state}", index=ref.index
            )

    def apply(self) -> Mapping[str, Any]:
        """See :class:`Step`."""
        before = activate(self._ref, self._connections)
        return {"version": self._ref.version, "previous_version": before}


class ImageStep:
    """Lets the channel's tag name an image, with an entry in the image's ledger.

    :param images: opens the repository of a reference.
    """

    def __init__(self, part: str, payload: Mapping[str, Any], channel: str, images: Images) -> None:
        self.name = f"image:{part}"
        self._reference = Reference.parse(payload["image"])
        self._channel = check_channel(channel)
        self._images = images

    def check(self) -> None:
        """See :class:`Step`."""
        store = self._images(self._reference)
        if store.digest_of(str(self._reference.digest)) is None:
            raise ImageNotFound(
                f"Image {self._reference} is not there (any more)", repository=store.repository
            )
        store.check_writable()

    def apply(self) -> Mapping[str, Any]:
        """See :class:`Step`."""
        done = promote(self._images(self._reference), str(self._reference.digest), self._channel)
        return {"digest": done.digest, "previous_digest": done.previous_digest, "ledger_tag": done.ledger_tag}


def steps_of(
    parts: Mapping[str, Any], *, channel: str, connections: Connections, images: Images
) -> Sequence[Step]:
    """Steps that make the parts live. Parts that nothing has to be done for (a model, a Bento) have none."""
    payloads = {name: part for name, part in sorted(parts.items()) if isinstance(part, Mapping)}
    indexes = [
        IndexStep(name, part, connections) for name, part in payloads.items() if part.get("kind") == INDEX
    ]
    named = [
        ImageStep(name, part, channel, images) for name, part in payloads.items() if part.get("kind") == IMAGE
    ]
    return [*indexes, *named]


def with_pinned_images(
    parts: Mapping[str, Any], images: Callable[[str], tuple[Reference, ImageStore]]
) -> dict[str, Any]:
    """The parts with every image pinned to its digest, so that the release stays what it is.

    An image is a part of the name ``image``, whatever its form, and every payload of an image task.

    :param images: reads a reference and opens its repository.
    :raises ImageNotFound: no such image.
    """
    return {
        name: _pinned(name, part, images)
        if name == "image" or (isinstance(part, Mapping) and part.get("kind") == IMAGE)
        else part
        for name, part in parts.items()
    }


def _pinned(name: str, part: Any, images: Callable[[str], tuple[Reference, ImageStore]]) -> dict[str, Any]:
    text = image_reference(part, argument=f"parts[{name!r}]")
    reference, store = images(text)
    digest = store.digest_of(reference.selector) if reference.selector else None
    if digest is None:
        raise ImageNotFound(f"Image {text} is not there", repository=reference.repository)
    return {
        "schema": SCHEMA,
        "kind": IMAGE,
        "image": f"{reference.repository}@{digest}",
        "repository": reference.repository,
        "digest": digest,
        "runnable": is_runnable(part),
    }
