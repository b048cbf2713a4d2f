from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    ConnectionMissing,
    CredentialsRejected,
    ExtraMissing,
    InvalidArgument,
    MlopsError,
    PermissionDenied,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
    StorageUnwritable,
)
from airflow_provider_mlops.hooks import MlflowHook
from airflow_provider_mlops.mlflow import process, runner
from airflow_provider_mlops.mlflow.process import MlflowAccess, ask


def access(**fields: Any) -> MlflowAccess:
    return MlflowAccess.from_connection(
        ConnectionInfo("ml", **{"host": "https://mlflow.example.com", **fields})
    )


def test_login_and_password_or_a_token_or_neither() -> None:
    basic = access(login="ci", password="hunter22").variables()
    assert (basic["MLFLOW_TRACKING_USERNAME"], basic["MLFLOW_TRACKING_PASSWORD"]) == ("ci", "hunter22")
    assert "MLFLOW_TRACKING_TOKEN" not in basic
    token = access(password="hunter22").variables()
    assert token["MLFLOW_TRACKING_TOKEN"] == "hunter22"
    assert "MLFLOW_TRACKING_USERNAME" not in token
    assert "hunter22" not in repr(access(login="ci", password="hunter22"))
    assert not [name for name in access().variables() if "PASSWORD" in name or "TOKEN" in name]


def test_certificates_are_checked_as_the_connection_says() -> None:
    names = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS")
    for extra, expected in (
        ({}, (None, None)),
        ({"ca_path": "/ca.pem"}, ("/ca.pem", None)),
        ({"verify_tls": False}, (None, "true")),
    ):
        variables = access(extra=extra).variables()
        assert tuple(variables.get(name) for name in names) == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"host": None}, "no host"),
        ({"host": "sqlite:///mlflow.db"}, "not a host name"),
        ({"host": "https://ci:hunter22@mlflow.example.com"}, "credentials"),
        ({"login": "ci"}, "no password"),
        ({"host": "http://mlflow.example.com", "password": "hunter22"}, "unencrypted"),
    ],
)
def test_unusable_connections_are_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConnectionIncomplete, match=problem) as caught:
        access(**fields)
    assert "hunter22" not in str(caught.value)


def test_plain_http_is_for_this_machine_or_on_demand() -> None:
    assert access(host="http://127.0.0.1:5000", password="hunter22").url == "http://127.0.0.1:5000"
    assert (
        access(host="http://mlflow", password="hunter22", extra={"allow_http": "true"}).url == "http://mlflow"
    )


def test_without_the_extra_the_error_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'airflow-provider-mlops\[mlflow\]'"):
        ask(access(), "check", {}, what="MLflow", timeout=5)


def test_hook_says_what_is_wrong_before_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionMissing, match="mlflow_default"):
        MlflowHook().resolve("models:/docs@champion")
    with pytest.raises(InvalidArgument, match="latest"):
        MlflowHook().resolve("models:/docs/latest")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a script in the place of the process that talks to MLflow; without MLflow's own modules."""
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: name)

    def run(code: str, **keywords: Any) -> Any:
        script = tmp_path / "client.py"
        script.write_text(code)
        monkeypatch.setattr(runner, "__file__", str(script))
        return ask(
            access(login="ci", password="hunter22"), "check", {"a": 1}, what="Model x", timeout=30, **keywords
        )

    return run


def test_the_password_reaches_the_client_and_neither_its_command_line_nor_its_first_environment(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of the worker")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    before = dict(os.environ)
    answer = client(
        "import json, os, pathlib, sys\n"
        "seen = pathlib.Path('/proc/self/environ').read_text() + pathlib.Path('/proc/self/cmdline').read_text()\n"
        "print(json.dumps({'answer': {'question': json.load(sys.stdin), 'seen': seen}}))"
    )
    assert answer["question"]["environment"]["MLFLOW_TRACKING_PASSWORD"] == "hunter22"
    assert answer["question"]["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert (answer["question"]["action"], answer["question"]["arguments"]) == ("check", {"a": 1})
    assert "hunter22" not in answer["seen"]
    assert "of the worker" not in answer["seen"]
    assert "AWS_REGION=eu-1" in answer["seen"]
    assert dict(os.environ) == before


ERROR = {"type": "MlflowException", "status": None, "words": "", "missing_module": None, "storage": False}


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        ({"status": 401, "words": "not authenticated"}, CredentialsRejected, "not authenticated"),
        ({"status": 403, "words": "Permission denied"}, PermissionDenied, "Permission denied"),
        ({"status": 404, "words": "Run not found"}, RemoteObjectNotFound, "Run not found"),
        ({"status": 400, "words": "alias nope not found."}, RemoteObjectNotFound, "alias nope"),
        ({"status": 400, "words": "Invalid name"}, RequestRefused, "Invalid name"),
        ({"status": 503, "words": "busy"}, RemoteUnavailable, "503"),
        (
            {
                "status": 500,
                "words": 'API request to u failed with exception Pool: Max retries (Caused by NameError("no"))',
            },
            RemoteUnavailable,
            "https://mlflow.example.com cannot be reached: NameError",
        ),
        ({"type": "KeyError", "words": "boom"}, RemoteUnavailable, "KeyError: boom"),
        ({"words": "No space left on device", "storage": True}, StorageUnwritable, "No space left"),
        ({"words": "No module named 'boto3'", "missing_module": "boto3"}, ExtraMissing, "boto3"),
        ({"status": 401, "words": "hunter22 is wrong"}, CredentialsRejected, r"\*\*\* is wrong"),
    ],
)
def test_what_mlflow_says_becomes_a_typed_error(
    client: Any, found: dict[str, Any], kind: type[MlopsError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        client(f"print({json.dumps(json.dumps({'error': {**ERROR, **found}}))})")
    assert str(caught.value).startswith("Model x")
    assert "hunter22" not in str(caught.value)


def test_a_client_that_dies_is_worth_a_retry_and_its_last_words_are_kept(client: Any) -> None:
    with pytest.raises(RemoteUnavailable, match=r"ended with -9.*about to go"):
        client("import os, sys\nprint('about to go', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 9)")


def test_the_runner_describes_failures_of_requests_of_mlflow_and_of_the_disk() -> None:
    class Answer:
        status_code = 403

    class WithAnswer(OSError):
        response = Answer()

    class FromMlflow(Exception):
        def get_http_status_code(self) -> int:
            return 404

    assert runner.describe(WithAnswer("no"))["status"] == 403
    assert runner.describe(WithAnswer("no"))["storage"] is False
    assert runner.describe(FromMlflow("a\nb")) == {
        "type": "FromMlflow",
        "status": 404,
        "words": "a b",
        "missing_module": None,
        "storage": False,
    }
    assert runner.describe(OSError(28, "No space left on device"))["storage"] is True
    assert runner.describe(ImportError("x", name="boto3"))["missing_module"] == "boto3"
