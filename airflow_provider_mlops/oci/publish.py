"""Put a Bento archive into a repository without a builder, and get its files back out."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.oci.bento_image import (
    BENTO_ROOT,
    bento_members,
    config_and_manifest,
    write_layer,
)
from airflow_provider_mlops.oci.errors import BentoArchiveInvalid, ImageNotFound, NotABentoImage
from airflow_provider_mlops.oci.image_payload import image_payload
from airflow_provider_mlops.oci.image_store import ImageStore, sha256_digest
from airflow_provider_mlops.oci.promotion import tag_image
from airflow_provider_mlops.oci.reference import Reference
from airflow_provider_mlops.oci.stores import open_store
from airflow_provider_mlops.oci.tag_policy import content_tag
from airflow_provider_mlops.payloads import ImagePayload

_DONE = ".image-digest"


def publish_bento(store: ImageStore, archive: Path) -> ImagePayload:
    """Publish a Bento archive (``.tar``, compressed or not) under its content tag ``b-<hash>``.

    The same Bento is published once: where its content tag is there already, nothing is sent.

    :raises BentoArchiveInvalid: not a readable Bento.
    """
    with tempfile.TemporaryFile() as packed:
        try:
            with tarfile.open(archive) as opened:
                layer = write_layer(opened, cast(Any, packed))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BentoArchiveInvalid(f"Bento archive {archive}: {error}") from error
        tag = content_tag(layer.diff_id)
        digest = store.digest_of(tag)
        reused = digest is not None
        if digest is None:
            config, manifest = config_and_manifest(layer)
            packed.seek(0)
            store.write_blob(layer.digest, cast(Any, packed))
            store.write_blob(sha256_digest(config), io.BytesIO(config))
            store.put_manifest(manifest, manifest.digest)
            digest, _ = tag_image(store, manifest.digest, [tag])
    return image_payload(store.repository, digest, [tag], runnable=False, reused=reused)


def unpack_bento(store: ImageStore, selector: str, folder: Path) -> Path:
    """Write the Bento of a published image into a folder, so that it can be served.

    The folder appears whole or not at all; if it already holds this image, nothing is done.

    :param selector: tag or digest.
    :param folder: folder to create; a folder that holds another image is replaced.
    :return: ``folder``, with ``bento.yaml`` in it.
    :raises ImageNotFound: no such image.
    :raises NotABentoImage: the image holds no Bento.
    """
    manifest = store.get_manifest(selector)
    marker = folder / _DONE
    if marker.is_file() and marker.read_text() == manifest.digest:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        fresh = Path(temporary, "bento")
        fresh.mkdir()
        for layer in manifest.data.get("layers", []):
            _unpack_layer(store, layer["digest"], fresh)
        if not (fresh / "bento.yaml").is_file():
            raise NotABentoImage(f"Image {store.repository}@{manifest.digest} has no Bento at {BENTO_ROOT}")
        (fresh / _DONE).write_text(manifest.digest)
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        fresh.rename(folder)
    return folder


def unpack_image(image: str, folder: Path, info: ConnectionInfo | None = None) -> Path:
    """:func:`unpack_bento` for a reference such as ``file:///images/search@sha256:...``.

    :param info: connection, for a registry.
    """
    reference = Reference.parse(image)
    if reference.selector is None:
        raise ImageNotFound(f"{image} names a repository, but neither tag nor digest")
    return unpack_bento(open_store(reference, info), reference.selector, folder)


def _unpack_layer(store: ImageStore, digest: str, folder: Path) -> None:
    with tempfile.TemporaryFile() as packed:
        for piece in store.read_blob(digest):
            packed.write(piece)
        packed.seek(0)
        with tarfile.open(fileobj=packed) as layer:
            for path, member in bento_members(layer):
                # The "data" filter refuses what would land outside the folder.
                layer.extract(member.replace(name=str(path)), folder, filter="data")


def publish_from_command_line(bento: str, repository: str, result: str | None) -> ImagePayload:
    """``image publish``: for CI jobs, which have no Airflow connections.

    A registry's credentials come from the variables that GitLab gives every job (``CI_REGISTRY``,
    ``CI_REGISTRY_USER``, ``CI_REGISTRY_PASSWORD``), and are used for that registry only.

    :param bento: path or ``file://`` URI of the Bento archive; from an object store the job fetches it first.
    :param repository: ``registry.example.com/team/name`` or ``file:///folder/name``.
    :param result: file that receives the :class:`~airflow_provider_mlops.payloads.ImagePayload` as JSON.
    :return: what was published.
    :raises StorageUnwritable: the result file cannot be written; found before anything is published.
    """
    reference = Reference.parse(repository)
    report = Path(result) if result else None
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.open("ab").close()
        except OSError as error:
            raise StorageUnwritable(f"Result file {report}: {error.strerror}") from error
    info = None if reference.is_layout else ci_connection(reference.host, os.environ)
    payload = publish_bento(open_store(reference, info), _local(bento))
    if report is not None:
        report.write_text(json.dumps(payload, indent=2) + "\n")
    return payload


def _local(archive: str) -> Path:
    parts = urlsplit(archive)
    if parts.scheme not in ("", "file"):
        raise BentoArchiveInvalid(
            f"Bento archive {archive} is not on this machine",
            next_step="Fetch it in the job first (aws s3 cp, gsutil cp, ...) and pass the local path.",
        )
    return Path(unquote(parts.path)) if parts.scheme else Path(archive)


def ci_connection(host: str, environment: Mapping[str, str]) -> ConnectionInfo:
    """Connection to a registry from a CI job's variables; anonymous for any other host than ``CI_REGISTRY``."""
    if environment.get("CI_REGISTRY") != host:
        return ConnectionInfo("CI job", host=host)
    return ConnectionInfo(
        "CI job",
        host=host,
        login=environment.get("CI_REGISTRY_USER"),
        password=environment.get("CI_REGISTRY_PASSWORD"),
    )
