"""BentoBuildOperator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from airflow_provider_mlops import config
from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator, product_field
from airflow_provider_mlops.bento.build_request import AUTO_VERSION, BuildRequest, Lock
from airflow_provider_mlops.bento.builders import BentoBuilder, Isolation
from airflow_provider_mlops.bento.environment import DEFAULT_REQUIREMENTS
from airflow_provider_mlops.bento.index_access import IndexAccess, IndexLogin, index_access
from airflow_provider_mlops.bento.model_source import RegisteredModel
from airflow_provider_mlops.bento.store import BentoStore, is_local
from airflow_provider_mlops.compat import Context, ObjectStoragePath, mask_secret
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.mlflow.hook import MlflowHook
from airflow_provider_mlops.mlflow.reference import is_reference
from airflow_provider_mlops.payloads import BentoPayload


class BentoBuildOperator(MlopsOperator):
    """Build a Bento from a folder of sources in an isolated environment, and store it as an archive.

    The Bento's identity is the hash of its input, known before the build: an unchanged input reuses the
    stored archive in well under a second after BentoML's environment exists, and a retry never meets an
    "already exists". The archive is in normal form: the same input gives the same digest. It holds the
    models, so it can be served with no other store.

    By default nothing is asked from the network while building, once the environment is in the cache:
    the Bento's Python requirements are locked only if its bentofile says ``lock_packages: true``. Use
    ``lock="on"`` for images that must install the same packages on every day.

    An asset or dataset ``bento://<name>`` among the task's outlets gets tag, URI and digest as its extra.

    :param context: folder with the service's files; a relative path counts from the DAG file's folder. (templated)
    :param service: import path of the service in the context, such as ``service:Classifier``. Default: what
        the bentofile says, else ``service.py``. (templated)
    :param bentofile: build file, relative to the context. Default: ``bentofile.yaml``, else
        ``pyproject.toml``, if there. (templated)
    :param name: name of the Bento. Default: what the bentofile says, else the folder's name. (templated)
    :param version: ``"auto"`` names the Bento after its input (``h-`` and 16 hex digits); an explicit
        version is never overwritten by other input. (templated)
    :param models: model name to a file or folder: a URI, a local path, or the whole ``.output`` of a task
        that returns ``uri``; or a model in MLflow: ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or
        ``runs:/<run id>/<path>``, whose alias is looked up before the Bento's identity is computed from the
        files. The service finds it as ``bentoml.models.BentoModel("<name>:latest")``. (templated)
    :param labels: labels written into the Bento. (templated)
    :param args: values for ``bentoml.use_arguments``. (templated)
    :param requirements: what the isolated environment holds; add what the service imports at build time.
    :param isolation: ``"venv"`` makes and caches an environment; ``"external"`` uses that of ``python``.
    :param python: interpreter to make the environment from (``venv``; default: the worker's), or that of a
        ready environment with BentoML and uv (``external``).
    :param environments_dir: cache folder of environments on the worker. Default:
        ``~/.cache/airflow-provider-mlops/environments``.
    :param index_conn_id: connection of a package index (host, login, password) for the environment and for
        locking. Its password reaches neither the Bento nor the log.
    :param mlflow_conn_id: connection of type ``mlflow``, read only for models in MLflow. Its password reaches
        neither the Bento nor the log.
    :param store: URI of the folder that keeps the archives. Default: ``bentos`` below ``[mlops]
        artifacts``. (templated)
    :param lock: ``"auto"``, ``"on"`` or ``"off"``: whether the Bento's Python requirements are locked.
    :param timeout: limit for making the environment and again for the build; ``None``: no limit.
    :raises BentoContextInvalid: no service in the folder, or a malformed bentofile; before any effect.
    :raises StorageUnwritable: the store cannot be written; before any effect on local stores.
    :raises ServiceImportFailed: the user's code raised or exited.
    :raises ModelMissing: a model is not where it should be, or the service asks for an unknown one.
    :raises RemoteObjectNotFound, CredentialsRejected, ExtraMissing: a model in MLflow cannot be had.
    :raises EnvironmentBuildFailed: the isolated environment cannot be made.
    :raises DependencyLockFailed: the requirements cannot be locked.
    :raises PackageIndexUnreachable: the package index did not answer.
    :raises BentoContainsSecret: the Bento holds a credential.
    :raises BentoVersionTaken: the explicit version exists, built from other input.
    :raises BentoBuildInterrupted: killed, or longer than ``timeout``.
    :returns: :class:`~airflow_provider_mlops.payloads.BentoPayload`
    """

    template_fields: Sequence[str] = (
        "context",
        "service",
        "bentofile",
        "name",
        "version",
        "models",
        "labels",
        "args",
        "store",
    )
    ui_color = "#f5dfd3"

    def __init__(
        self,
        *,
        context: str,
        service: str | None = None,
        bentofile: str | None = None,
        name: str | None = None,
        version: str = AUTO_VERSION,
        models: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        args: Mapping[str, Any] | None = None,
        requirements: Sequence[str] = DEFAULT_REQUIREMENTS,
        isolation: Literal["venv", "external"] = "venv",
        python: str | None = None,
        environments_dir: str | None = None,
        index_conn_id: str | None = None,
        mlflow_conn_id: str = MlflowHook.default_conn_name,
        store: str | None = None,
        lock: Lock = "auto",
        timeout: timedelta | None = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.context = context
        self.service = service
        self.bentofile = bentofile
        self.name = name
        self.version = version
        self.models = models
        self.labels = labels
        self.args = args
        self.requirements = requirements
        self.isolation = isolation
        self.python = python
        self.environments_dir = environments_dir
        self.index_conn_id = index_conn_id
        self.mlflow_conn_id = mlflow_conn_id
        self.store = store
        self.lock = lock
        self.timeout = timeout
        self._builder: BentoBuilder | None = None

    def execute(self, context: Context) -> BentoPayload:
        """Build or reuse the Bento."""
        places = {
            name: str(product_field(model, "uri", argument=f"models[{name!r}]"))
            for name, model in (self.models or {}).items()
        }
        request = BuildRequest(
            context=str(self._local(self.context)),
            service=self.service,
            bentofile=self.bentofile,
            name=self.name,
            version=self.version,
            models=places,
            labels=self.labels or {},
            args=self.args or {},
            lock=self.lock,
        )
        uri = self.store or config.artifacts("bentos")
        models = {name: self._model(place) for name, place in places.items()}
        self._builder = BentoBuilder(
            store=BentoStore(_place(uri), uri=uri),
            isolation=Isolation(
                mode=self.isolation,
                python=self.python,
                requirements=tuple(self.requirements),
                cache=Path(self.environments_dir).expanduser() if self.environments_dir else None,
            ),
            access=self._index_access(),
            timeout=self.timeout.total_seconds() if self.timeout else None,
            on_line=lambda line: self.log.info("%s", line),
        )
        payload = self._builder.build(request, models)
        self._describe_assets(context, payload)
        self.log.info("Bento %s at %s (%s)", payload["tag"], payload["uri"], payload["digest"])
        return payload

    def on_kill(self) -> None:
        """Stop the build and everything that it started."""
        if self._builder is not None:
            self._builder.kill()

    def _local(self, folder: str) -> Path:
        place = _place(folder)
        if not is_local(place):
            raise InvalidArgument(
                f"context {folder!r} is not on the worker's disk",
                next_step="Keep the service beside the DAGs, or fetch it in an earlier step.",
            )
        if not place.is_absolute() and self.has_dag():  # type: ignore[no-untyped-call]
            return Path(self.dag.fileloc).parent / folder
        return Path(place)

    def _model(self, place: str) -> Any:
        if not is_reference(place):
            return _place(place)
        hook = MlflowHook(self.mlflow_conn_id, timeout=self.timeout)
        found = hook.resolve(place)
        self.log.info("MLflow model %s is %s", place, found.concrete)
        return RegisteredModel(
            origin={"reference": place, **found.origin()},
            download=lambda folder: hook.download(found, folder),
        )

    def _index_access(self) -> IndexAccess:
        url, login = None, None
        if self.index_conn_id:
            connection = connection_info(self.index_conn_id)
            url = connection.base_url()
            if connection.password:
                host = urlsplit(url).hostname or ""
                login = IndexLogin(host, connection.login or "__token__", connection.password)
        access = index_access(os.environ, index_url=url, login=login)
        for secret in access.secrets:
            mask_secret(secret)
        return access

    def _describe_assets(self, context: Context, payload: BentoPayload) -> None:
        wanted = f"bento://{payload['name']}"
        for outlet in self.outlets:
            if getattr(outlet, "uri", None) == wanted:
                context["outlet_events"][outlet].extra = {
                    "tag": payload["tag"],
                    "uri": payload["uri"],
                    "digest": payload["digest"],
                }


def _place(uri: str) -> Any:
    """A local path for ``file://`` URIs and plain paths, an object store path for the rest."""
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else uri).expanduser()
    return ObjectStoragePath(uri)
