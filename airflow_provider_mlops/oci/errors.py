"""Errors of the image station."""

from __future__ import annotations

from airflow_provider_mlops.errors import (
    InvalidArgument,
    PermanentError,
    RemoteObjectNotFound,
    TemporaryError,
)


class InvalidReference(InvalidArgument):
    """The text is not an image reference, a repository or a tag."""

    remedy = (
        "Write registry.example.com/team/name:tag, .../name@sha256:<64 hex digits>, or file:///folder/name."
    )


class ImageNotFound(RemoteObjectNotFound):
    """The repository has no image of that tag or digest."""

    remedy = "Check the tag or digest, and that the task that publishes the image has succeeded."


class ImageTagConflict(PermanentError):
    """An immutable tag already names another digest; it is never moved."""

    remedy = "Use a new tag, or find out who published another image under this one."


class NoPreviousImage(PermanentError):
    """The channel's ledger holds no image other than the current one."""

    remedy = "Name a tag or digest to go back to."


class DigestMismatch(TemporaryError):
    """The bytes that a registry sent, or says it keeps, do not have the digest that names them."""

    remedy = "Try again; if it stays, a proxy or the registry's storage damages the content."


class LayoutCorrupt(PermanentError):
    """A file of an OCI image layout is damaged: truncated, not JSON, or its bytes do not have its digest."""

    remedy = "Delete the damaged file and publish the image again."


class LayoutFull(TemporaryError):
    """No space is left for an OCI image layout; nothing half-written was left behind."""

    remedy = "Free some space on the volume, then try again."


class BentoArchiveInvalid(PermanentError):
    """The archive is not a readable Bento, or holds an entry that does not belong into one."""

    remedy = "Build the Bento again and publish that archive."


class NotABentoImage(PermanentError):
    """The image holds no Bento at home/bentoml/bento."""
