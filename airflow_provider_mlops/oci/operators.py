"""Tag, promote and roll back images. The work is in :mod:`airflow_provider_mlops.oci.promotion`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_mlops.base.operators import MlopsOperator, run_moment
from airflow_provider_mlops.compat import AIRFLOW_3, Context
from airflow_provider_mlops.config import namespace
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.oci.copy import copy_image
from airflow_provider_mlops.oci.errors import InvalidReference
from airflow_provider_mlops.oci.hook import OciRegistryHook
from airflow_provider_mlops.oci.image_argument import image_reference, is_runnable
from airflow_provider_mlops.oci.image_payload import image_payload
from airflow_provider_mlops.oci.image_store import ImageStore
from airflow_provider_mlops.oci.promotion import promote, roll_back, rollback_target, tag_image
from airflow_provider_mlops.oci.tag_policy import check_channel, date_tag
from airflow_provider_mlops.payloads import ImagePayload


class _ImageOperator(MlopsOperator):
    def __init__(self, *, oci_conn_id: str = OciRegistryHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.oci_conn_id = oci_conn_id

    def _open(self, image: Any) -> tuple[ImageStore, str]:
        hook = OciRegistryHook(self.oci_conn_id)
        reference = hook.reference(image_reference(image))
        if reference.selector is None:
            raise InvalidReference(
                f"image {reference} names a repository, but no image in it",
                next_step="Add @sha256:<digest> (or :tag), or pass the output of the task that publishes it.",
            )
        return hook.store(reference), reference.selector

    def _open_repository(self, repository: str) -> ImageStore:
        hook = OciRegistryHook(self.oci_conn_id)
        reference = hook.reference(repository)
        if reference.selector is not None:
            raise InvalidReference(
                f"repository {reference} names one image of the repository",
                next_step="Name the repository alone, without tag and digest.",
            )
        return hook.store(reference)


class ImageTagOperator(_ImageOperator):
    """Give an image further tags, without moving a byte of it.

    Returns an :class:`~airflow_provider_mlops.payloads.ImagePayload`; ``reused`` says that every tag was
    there already.

    :param image: image reference, or the output of the task that publishes it (templated).
    :param tags: tags to add (templated).
    :param dated: also add ``YYYYMMDD-HHMMSS``, the UTC moment of the DAG run, which retries repeat.
    :param move: let ``tags`` that name another image move. Date, content and ledger tags never do; to move
        a channel such as ``production`` use :class:`ImagePromoteOperator`, which keeps the way back.
    :param oci_conn_id: connection of type ``oci_registry``; not needed for ``file:///...`` (templated).
    :raises ImageTagConflict: a tag names another image and does not move; nothing was written.
    :raises ImageNotFound: no such image.
    """

    template_fields: Sequence[str] = ("image", "tags", "oci_conn_id")

    def __init__(
        self, *, image: Any, tags: Sequence[str] = (), dated: bool = True, move: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.tags = tags
        self.dated = dated
        self.move = move

    def execute(self, context: Context) -> ImagePayload:
        """Write the tags."""
        if isinstance(self.tags, str):
            raise InvalidArgument(f"tags is the text {self.tags!r}", next_step="Pass a list of tags.")
        tags = [*self.tags, *([date_tag(run_moment(context))] if self.dated else ())]
        if not tags:
            raise InvalidArgument("There is nothing to tag with", next_step="Give tags, or leave dated on.")
        store, selector = self._open(self.image)
        digest, changed = tag_image(store, selector, tags, move=self.move)
        self.log.info("%s@%s has tags %s", store.repository, digest, ", ".join(tags))
        return image_payload(
            store.repository, digest, tags, runnable=is_runnable(self.image), reused=not changed
        )


class ImagePromoteOperator(_ImageOperator):
    """Put an image live in a channel: ledger tag first, channel tag last, both looked at again.

    Returns an :class:`~airflow_provider_mlops.payloads.ImagePayload`; ``previous_digest`` is what the
    channel named before, ``reused`` says that it named this image already.

    No registry can be told "only if unchanged", so let one task at a time promote a channel (an Airflow
    pool of one slot, or ``max_active_runs=1``).

    :param image: image reference, or the output of the task that publishes it (templated).
    :param channel: tag that says what is live, such as ``production`` (templated).
    :param repository: repository to promote into, when it is not the image's own; the image is copied there
        first, inside one registry without moving its bytes (templated).
    :param oci_conn_id: connection of type ``oci_registry``; not needed for ``file:///...`` (templated).
    :raises ImageNotFound: no such image.
    """

    template_fields: Sequence[str] = ("image", "channel", "repository", "oci_conn_id")

    def __init__(self, *, image: Any, channel: str, repository: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.channel = channel
        self.repository = repository

    def execute(self, context: Context) -> ImagePayload:
        """Move the channel."""
        check_channel(self.channel)
        store, selector = self._open(self.image)
        if self.repository is not None:
            source, store = store, self._open_repository(self.repository)
            selector = copy_image(source, store, selector)
        done = promote(store, selector, self.channel)
        self.log.info(
            "%s:%s names %s%s",
            store.repository,
            self.channel,
            done.digest,
            "" if done.changed else " already",
        )
        return image_payload(
            store.repository,
            done.digest,
            [done.ledger_tag, self.channel],
            channel=self.channel,
            previous_digest=done.previous_digest,
            runnable=is_runnable(self.image),
            reused=not done.changed,
        )


class ImageRollbackOperator(_ImageOperator):
    """Put an earlier image of a channel live again. A rollback is a promotion too and gets a ledger tag.

    Returns an :class:`~airflow_provider_mlops.payloads.ImagePayload`; with ``dry_run`` it names the image
    that would be live, and ``tags`` is empty.

    :param repository: repository, with or without the registry's host, or ``file:///folder/name`` (templated).
    :param channel: tag that says what is live (templated).
    :param to: ``"previous"`` (the newest promotion of another image than the one that is live now), a tag
        or a digest (templated). A retry goes on with the image that its first try chose.
    :param dry_run: only find out what would be live.
    :param oci_conn_id: connection of type ``oci_registry``; not needed for ``file:///...`` (templated).
    :raises NoPreviousImage: the channel was never anything else.
    :raises ImageNotFound: no such tag or digest.
    """

    template_fields: Sequence[str] = ("repository", "channel", "to", "oci_conn_id")

    def __init__(
        self, *, repository: str, channel: str, to: str = "previous", dry_run: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.channel = channel
        self.to = to
        self.dry_run_only = dry_run

    def execute(self, context: Context) -> ImagePayload:
        """Move the channel back."""
        check_channel(self.channel)
        store = self._open_repository(self.repository)
        if self.dry_run_only:
            target = rollback_target(store, self.channel, self.to)
            self.log.info("%s:%s would name %s", store.repository, self.channel, target)
            current = store.digest_of(self.channel)
            return image_payload(store.repository, target, [], channel=self.channel, previous_digest=current)
        done = roll_back(store, self.channel, self.to, key=_attempt_key(context))
        self.log.info("%s:%s names %s", store.repository, self.channel, done.digest)
        return image_payload(
            store.repository,
            done.digest,
            [done.ledger_tag, self.channel],
            channel=self.channel,
            previous_digest=done.previous_digest,
            reused=not done.changed,
        )


def _attempt_key(context: Context) -> str:
    from airflow_provider_mlops.external_job.attempt import attempt_of

    attempt = attempt_of(
        context, namespace=namespace(), timeout=None, required=False, run_ids_repeat=not AIRFLOW_3
    )
    return attempt.key.slot.removeprefix("af-")
