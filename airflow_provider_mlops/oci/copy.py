"""Copy an image from one repository to another, byte for byte, so that it keeps its digest."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from airflow_provider_mlops.oci.image_store import ImageStore


def copy_image(source: ImageStore, target: ImageStore, selector: str) -> str:
    """Copy an image with all that it consists of; what the target has already is not sent.

    The manifest is written last, so that the target never names an image whose parts are missing.

    :param selector: tag or digest in ``source``.
    :return: digest of the image, the same in both.
    :raises ImageNotFound: no such image.
    """
    manifest = source.get_manifest(selector)
    if target.digest_of(manifest.digest) is None:
        for part in manifest.data.get("manifests", ()):
            copy_image(source, target, part["digest"])
        config = [manifest.data["config"]] if "config" in manifest.data else []
        for blob in (*config, *manifest.data.get("layers", ())):
            _copy_blob(source, target, blob["digest"])
        target.put_manifest(manifest, manifest.digest)
    return manifest.digest


def _copy_blob(source: ImageStore, target: ImageStore, digest: str) -> None:
    if target.has_blob(digest) or target.take_blob(digest, source):
        return
    with tempfile.TemporaryFile() as file:
        for piece in source.read_blob(digest):
            file.write(piece)
        file.seek(0)
        target.write_blob(digest, cast(BinaryIO, file))
