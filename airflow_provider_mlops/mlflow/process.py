"""Runs :mod:`.runner` and turns what it says into answers or typed errors."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_mlops.connection import ConnectionInfo, is_loopback
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    ExtraMissing,
    MlopsError,
    RemoteUnavailable,
    StorageUnwritable,
)
from airflow_provider_mlops.http import redact, status_error
from airflow_provider_mlops.mlflow import runner

#: How MLflow words that it got no answer at all; its status is then one of its own making.
_UNREACHABLE = "failed with exception"
_WORDS_SHOWN = 600
#: MLflow itself would try for minutes; the task's retries are the place for that.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, slots=True)
class MlflowAccess:
    """Address and credentials of a tracking server. ``repr`` shows no secret.

    :param url: tracking URI.
    :param login: user name; without one the password is a token.
    :param verify: ``True``, ``False``, or the path of a CA bundle.
    """

    conn_id: str
    url: str
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    verify: bool | str = True

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> MlflowAccess:
        """Check the connection's fields.

        :raises ConnectionIncomplete: no host, a malformed one, a login without a password, or a secret that
            would travel over plain http.
        """
        url = info.base_url()
        parts = urlsplit(url)
        problem, step = None, None
        if info.login and not info.password:
            problem = f"has the login {info.login!r} and no password"
        elif (
            info.password
            and parts.scheme == "http"
            and not is_loopback(parts.hostname)
            and not info.flag("allow_http", default=False)
        ):
            problem = f"would send its password unencrypted to {url}"
            step = "Use https, or tick 'Allow http' in the connection."
        if problem:
            raise ConnectionIncomplete(
                f"Connection {info.conn_id!r} {problem}", next_step=step, conn_id=info.conn_id
            )
        return cls(info.conn_id, url, info.login, info.password, info.verify)

    def variables(self) -> dict[str, str]:
        """MLflow's environment variables for this server."""
        credentials = (
            {"MLFLOW_TRACKING_USERNAME": self.login, "MLFLOW_TRACKING_PASSWORD": self.password or ""}
            if self.login
            else {"MLFLOW_TRACKING_TOKEN": self.password}
            if self.password
            else {}
        )
        tls = (
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": self.verify}
            if isinstance(self.verify, str)
            else {}
            if self.verify
            else {"MLFLOW_TRACKING_INSECURE_TLS": "true"}
        )
        place = {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_REGISTRY_URI": self.url}
        return {**_CLIENT_SETTINGS, **place, **credentials, **tls}


def ask(
    access: MlflowAccess, action: str, arguments: Mapping[str, Any], *, what: str, timeout: float | None
) -> dict[str, Any]:
    """One question to MLflow, through a process that ends with the answer.

    :param action: a key of ``runner.ACTIONS``.
    :param what: what is asked, as the start of a sentence.
    :param timeout: seconds; ``None``: no limit.
    :raises ExtraMissing: the extra ``mlflow`` is not installed.
    :raises MlopsError: what MLflow answered, or that it did not.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ExtraMissing(
            f"{what}: MLflow's client is not installed",
            next_step="pip install 'airflow-provider-mlops[mlflow]'",
        )
    # Neither the worker's own MLflow settings nor this package's folder, which has a `mlflow` as well, may mix in.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    question = {"environment": access.variables(), "action": action, "arguments": dict(arguments)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", runner.__file__],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=plain,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RemoteUnavailable(
            f"{what}: no answer from {access.url} within {timeout:g} s", conn_id=access.conn_id
        ) from error
    try:
        said = json.loads(done.stdout)
    except ValueError:
        words = redact(" | ".join(done.stderr.split("\n")[-4:]).strip(" |"), access.password)
        raise RemoteUnavailable(
            f"{what}: MLflow's client ended with {done.returncode}: {words}", conn_id=access.conn_id
        ) from None
    if "error" in said:
        raise _error(said["error"], access, what)
    answer: dict[str, Any] = said["answer"]
    return answer


def _error(found: Mapping[str, Any], access: MlflowAccess, what: str) -> MlopsError:
    words = redact(str(found["words"]), access.password)[:_WORDS_SHOWN]
    if found["missing_module"]:
        return ExtraMissing(
            f"{what}: MLflow needs the module {found['missing_module']!r}: {words}",
            next_step="Install what MLflow needs for this artifact store (boto3 for s3://, for example).",
        )
    if found["storage"]:
        return StorageUnwritable(f"{what}: {words}")
    if _UNREACHABLE in words:
        cause = words.partition(_UNREACHABLE)[2].rpartition("Caused by ")[2]
        return RemoteUnavailable(f"{what}: {access.url} cannot be reached: {cause}", conn_id=access.conn_id)
    status = found["status"]
    if status is None:
        return RemoteUnavailable(f"{what}: {found['type']}: {words}", conn_id=access.conn_id)
    if status == 400 and "not found" in words:
        status = 404  # an alias that is not there is an invalid parameter, for MLflow
    return status_error(what, status, body=words, conn_id=access.conn_id)
