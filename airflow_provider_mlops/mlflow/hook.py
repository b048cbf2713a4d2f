"""Airflow's door to MLflow: a connection of type ``mlflow``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_provider_mlops.base.hook import MlopsHook
from airflow_provider_mlops.errors import RemoteObjectNotFound
from airflow_provider_mlops.mlflow.process import MlflowAccess, ask
from airflow_provider_mlops.mlflow.reference import ModelReference, ResolvedModel

#: Seconds for a question that is not a download, start of the client included.
_PATIENCE = 180.0


class MlflowHook(MlopsHook):
    """Finds and fetches models of an MLflow tracking server and its registry.

    Needs the extra ``mlflow``. MLflow's client runs in a process of its own: it takes credentials from the
    environment, and the worker's environment stays as it is. Settings named ``MLFLOW_...`` of the worker do not
    count; those of the artifact store behind (``AWS_...``, for example) do.

    :param mlflow_conn_id: connection of type ``mlflow``: its host is the tracking URI (http or https); login and
        password, or a token as password without a login.
    :param timeout: limit for one download; ``None``: no limit.
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = "mlflow_default"
    conn_type = "mlflow"
    hook_name = "MLflow"

    def __init__(
        self,
        mlflow_conn_id: str = default_conn_name,
        *,
        timeout: timedelta | None = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mlflow_conn_id = mlflow_conn_id
        self.timeout = timeout

    def resolve(self, reference: str) -> ResolvedModel:
        """What a reference means now: an alias may move at any time, what this returns does not.

        :param reference: ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or ``runs:/<run id>/<path>``.
        :raises InvalidArgument: none of these.
        :raises RemoteObjectNotFound: there is no such model, version, alias or run.
        :raises CredentialsRejected, PermissionDenied, RemoteUnavailable, ExtraMissing: as they say.
        """
        parsed = ModelReference.parse(reference)
        access = self._access()
        found = ask(
            access,
            "resolve",
            {
                "name": parsed.name,
                "alias": parsed.alias,
                "version": parsed.version,
                "run_id": parsed.run_id,
            },
            what=f"MLflow model {reference!r}",
            timeout=_PATIENCE,
        )
        if parsed.path:
            found["source"] = f"{found['source'].rstrip('/')}/{parsed.path}"
        return ResolvedModel(reference=reference, tracking_uri=access.url, **found)

    def download(self, model: ResolvedModel, folder: Path) -> Path:
        """Copy the model's files below ``folder``; returns the file or folder that is the model.

        :raises RemoteObjectNotFound: the registry knows the model, but its files are not there.
        :raises StorageUnwritable: the disk is full, or the folder cannot be written.
        :raises CredentialsRejected, PermissionDenied, RemoteUnavailable, ExtraMissing: as they say.
        """
        answer = ask(
            self._access(),
            "download",
            {"reference": model.concrete, "folder": str(folder)},
            what=f"Files of the MLflow model {model.concrete!r}",
            timeout=self.timeout.total_seconds() if self.timeout else None,
        )
        path = Path(answer["path"])
        if not path.is_file() and not any(found.is_file() for found in path.rglob("*")):
            raise RemoteObjectNotFound(
                f"MLflow model {model.concrete!r} has no files at {model.source}",
                next_step="Look whether they were deleted, or the version was registered without them.",
            )
        return path

    def check(self) -> str:
        """See :class:`MlopsHook`."""
        access = self._access()
        ask(access, "check", {}, what=f"MLflow {access.url}", timeout=_PATIENCE)
        return f"{access.url} answers" + (f" {access.login}" if access.login else "")

    def _access(self) -> MlflowAccess:
        return MlflowAccess.from_connection(self.info)
