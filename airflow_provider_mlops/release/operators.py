"""Make a release live, or put an earlier one back: the only place where production moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator
from airflow_provider_mlops.compat import AIRFLOW_3, Context, ObjectStoragePath
from airflow_provider_mlops.config import artifacts, namespace
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.oci.hook import OciRegistryHook
from airflow_provider_mlops.oci.image_store import ImageStore
from airflow_provider_mlops.oci.reference import Reference
from airflow_provider_mlops.oci.tag_policy import check_channel
from airflow_provider_mlops.payloads import SCHEMA, ReleasePayload
from airflow_provider_mlops.release.diff import diff
from airflow_provider_mlops.release.files import local_path
from airflow_provider_mlops.release.ledger import ReleaseLedger
from airflow_provider_mlops.release.record import ReleaseRecord, identities
from airflow_provider_mlops.release.rollback import Standing, draft_release, draft_rollback, previous


def ledger_root(uri: str | None) -> Any:
    """Folder of all releases.

    :param uri: ``file://`` or any scheme of ``ObjectStoragePath``; by default ``releases`` below
        ``[mlops] artifacts``.
    :raises InvalidArgument: neither is given, or nothing that is installed reads the scheme.
    """
    uri = uri or artifacts("releases")
    if (path := local_path(uri)) is not None:
        return path
    try:
        root = ObjectStoragePath(uri)
        root.fs  # noqa: B018 - opening it is the question
    except (ValueError, ImportError) as error:
        raise InvalidArgument(
            f"ledger {uri!r} cannot be opened: {error}",
            next_step="Install the Airflow provider that brings this scheme (amazon for s3, google for gs, ...).",
        ) from error
    return root


class _Mover(MlopsOperator):
    """What releasing and rolling back share."""

    template_fields: Sequence[str] = ("service", "channel", "ledger", "oci_conn_id")

    def __init__(
        self,
        *,
        service: str,
        channel: str = "production",
        ledger: str | None = None,
        oci_conn_id: str = OciRegistryHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.channel = channel
        self.ledger = ledger
        self.oci_conn_id = oci_conn_id

    def _open_ledger(self) -> ReleaseLedger:
        check_channel(self.channel)
        return ReleaseLedger(ledger_root(self.ledger), self.service, self.channel)

    def _images(self, reference: Reference) -> ImageStore:
        return OciRegistryHook(self.oci_conn_id).store(reference)

    def _walk(
        self, context: Context, ledger: ReleaseLedger, draft: Callable[[Standing], ReleaseRecord]
    ) -> ReleasePayload:
        # Here and not above: the vector station is not needed to parse a DAG.
        from airflow_provider_mlops.external_job.attempt import attempt_of
        from airflow_provider_mlops.release.steps import steps_of
        from airflow_provider_mlops.release.walk import walk

        key = attempt_of(
            context, namespace=namespace(), timeout=None, required=False, run_ids_repeat=not AIRFLOW_3
        ).key
        outcome = walk(
            ledger,
            key=key.slot,
            owner=key.task_slot,
            draft=draft,
            steps_of=lambda record: steps_of(
                record.parts, channel=self.channel, connections=connection_info, images=self._images
            ),
            log=self.log.info,
        )
        self.log.info("Release %s of %s is live in %s", outcome.record.release_id, self.service, self.channel)
        return _payload(ledger, outcome.record, outcome.action)


class ReleaseOperator(_Mover):
    """Make a release of all its parts live, in one order: index alias, image channel tag, record.

    Returns a :class:`~airflow_provider_mlops.payloads.ReleasePayload`; its ``parts`` are the identities,
    the whole record lies at its ``uri``. If just these parts are live already, ``action`` is
    ``"unchanged"`` and nothing is touched.

    A run that is killed anywhere is continued by its retry, and by the next run with the same parts: what
    was done is not done again. One run at a time moves a channel; another one fails with ``ReleaseBusy``,
    and its retry goes on.

    :param parts: name to the output of the task that made the part, or to a text that identifies it
        (templated). An output of a ``VectorIndexOperator(activate=False)`` goes live as the index; an
        output of an image task, and whatever is named ``image``, as the image of the channel; any other
        part (model, Bento, ...) is recorded.
    :param service: name of what is released (templated).
    :param channel: tag of the image that says what is live, and folder of the records (templated).
    :param ledger: URI of the folder of all releases; by default ``releases`` below ``[mlops] artifacts``
        (templated).
    :param oci_conn_id: connection of type ``oci_registry``; not needed for ``file:///...`` (templated).
    :raises PartInvalid: a part has nothing that identifies it; nothing was touched.
    :raises ImageNotFound: the image is not there; nothing was touched.
    :raises VersionMissing: the index version is not there; nothing was touched.
    :raises ReleaseBusy: another run is at work in this channel.
    """

    template_fields: Sequence[str] = (*_Mover.template_fields, "parts")

    def __init__(self, *, parts: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts

    def execute(self, context: Context) -> ReleasePayload:
        """Walk the steps of this release."""
        from airflow_provider_mlops.release.steps import with_pinned_images

        ledger = self._open_ledger()
        hook = OciRegistryHook(self.oci_conn_id)

        def opened(text: str) -> tuple[Reference, ImageStore]:
            reference = hook.reference(text)
            return reference, hook.store(reference)

        parts = with_pinned_images(self.parts, opened)
        # Asked before the lease is taken, so that a bad argument leaves no trace.
        identities(parts)
        return self._walk(
            context,
            ledger,
            lambda standing: draft_release(standing, parts, run=_run(context), now=datetime.now(UTC)),
        )


class RollbackOperator(_Mover):
    """Put an earlier release live again, by the same steps with the parts of its record.

    A rollback is a release of its own, with a record that says what it took back. Returns a
    :class:`~airflow_provider_mlops.payloads.ReleasePayload`; with ``dry_run`` that of the release that would
    be live again, and the log says what would change.

    :param to: ``"previous"``, or a release id (templated). "Previous" is the newest release with other
        parts than the current one (so two rollbacks lead forth and back); after a release that ended
        half-way it is the last complete one. A retry goes on with what its first try chose.
    :param dry_run: only find out what would be live.
    :param service: name of what is released (templated).
    :param channel: as for :class:`ReleaseOperator` (templated).
    :param ledger: as for :class:`ReleaseOperator` (templated).
    :param oci_conn_id: as for :class:`ReleaseOperator` (templated).
    :raises NoPreviousRelease: nothing else was ever live.
    :raises ReleaseNotFound: no release of that id.
    """

    template_fields: Sequence[str] = (*_Mover.template_fields, "to")

    def __init__(self, *, to: str = "previous", dry_run: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.dry_run_only = dry_run

    def execute(self, context: Context) -> ReleasePayload:
        """Walk the steps of the earlier release."""
        from airflow_provider_mlops.release.walk import standing_of

        ledger = self._open_ledger()
        if not self.to:
            raise InvalidArgument("to is empty", next_step="Give 'previous' or a release id.")

        def target(standing: Standing) -> ReleaseRecord:
            return previous(standing, ledger.records()) if self.to == "previous" else ledger.record(self.to)

        if self.dry_run_only:
            standing = standing_of(ledger)
            record = target(standing)
            for change in diff(standing.current, record):
                self.log.info("Would change %s", change)
            return _payload(ledger, record, "rollback")
        if (standing := standing_of(ledger)).newest is None:
            # Asked before the lease is taken, so that a misspelt name leaves no trace.
            target(standing)
        return self._walk(
            context,
            ledger,
            lambda standing: draft_rollback(
                standing, target(standing), run=_run(context), now=datetime.now(UTC)
            ),
        )


def _run(context: Context) -> dict[str, str]:
    ti: Any = context["ti"]
    return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}


def _payload(ledger: ReleaseLedger, record: ReleaseRecord, action: Any) -> ReleasePayload:
    return {
        "schema": SCHEMA,
        "kind": "release",
        "release_id": record.release_id,
        "service": record.service,
        "channel": record.channel,
        "uri": ledger.record_uri(record.release_id),
        "previous_release_id": record.previous_release_id,
        "parts": dict(record.identities),
        "action": action,
    }
