"""The payload that stands for an image, whichever operator or command makes it."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_mlops.payloads import SCHEMA, ImagePayload


def image_payload(
    repository: str,
    digest: str,
    tags: Sequence[str],
    *,
    channel: str | None = None,
    previous_digest: str | None = None,
    runnable: bool = True,
    reused: bool = False,
) -> ImagePayload:
    """An :class:`~airflow_provider_mlops.payloads.ImagePayload`, pinned to the digest.

    :param repository: ``host/path``, or ``file:///folder/name``.
    """
    return {
        "schema": SCHEMA,
        "kind": "oci.image",
        "image": f"{repository}@{digest}",
        "repository": repository,
        "digest": digest,
        "tags": list(tags),
        "channel": channel,
        "previous_digest": previous_digest,
        "runnable": runnable,
        "reused": reused,
    }
