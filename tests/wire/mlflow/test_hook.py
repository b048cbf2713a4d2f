"""The hook against a real tracking server with authentication."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    MlopsError,
    RemoteObjectNotFound,
    RemoteUnavailable,
)
from airflow_provider_mlops.hooks import MlflowHook
from tests.servers.mlflow import Mlflow

# Every question starts MLflow's client anew, which imports for seconds.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.server("mlflow")]


@pytest.fixture
def server(mlflow_server: Mlflow, monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    fields = {"conn_type": "mlflow", "host": mlflow_server.url, "login": mlflow_server.login}
    for name, more in {
        "DEFAULT": {"password": mlflow_server.password},
        "WRONG": {"password": "wrong-password"},
        "TOKEN": {"login": None, "password": "wrong-token"},
        "NOBODY": {"host": "http://127.0.0.1:9", "password": "wrong-password"},
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_MLFLOW_{name}", json.dumps({**fields, **more}))
    return mlflow_server


def test_connection_is_tested_with_its_credentials(server: Mlflow) -> None:
    assert MlflowHook().test_connection() == (True, f"{server.url} answers {server.login}")
    with pytest.raises(CredentialsRejected, match="mlflow_wrong") as caught:
        MlflowHook("mlflow_wrong").check()
    assert "wrong-password" not in str(caught.value)
    with pytest.raises(CredentialsRejected, match="mlflow_token"):
        MlflowHook("mlflow_token").check()
    with pytest.raises(RemoteUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached") as nobody:
        MlflowHook("mlflow_nobody").check()
    assert "wrong-password" not in str(nobody.value)


def test_an_alias_that_moves_does_not_move_what_was_resolved(server: Mlflow, tmp_path: Path) -> None:
    versions = {}
    for content in (b"first", b"second"):
        run_id, uri = server.add_run({"model/MLmodel": b"flavors: {}\n", "model/weights.bin": content})
        versions[content] = (server.add_version("moving", run_id, f"{uri}/model"), run_id, f"{uri}/model")
    server.set_alias("moving", "champion", versions[b"first"][0])
    hook = MlflowHook()
    found = hook.resolve("models:/moving@champion")
    assert (found.version, found.run_id, found.source) == versions[b"first"]
    assert (found.name, found.concrete) == ("moving", f"models:/moving/{found.version}")
    assert found.origin() == {
        "system": "mlflow",
        "tracking_uri": server.url,
        "registered_model": "moving",
        "version": found.version,
        "run_id": found.run_id,
        "source": found.source,
    }
    server.set_alias("moving", "champion", versions[b"second"][0])
    folder = hook.download(found, tmp_path / "one")
    # What MLflow's client adds to the files would make the same model differ between two versions.
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "MLmodel": b"flavors: {}\n",
        "weights.bin": b"first",
    }
    assert hook.resolve("models:/moving@champion").version == versions[b"second"][0]


def test_artifacts_of_a_run_are_a_file_or_a_folder(server: Mlflow, tmp_path: Path) -> None:
    run_id, uri = server.add_run({"deep/model/a.txt": b"a", "deep/model/b/c.txt": b"c"})
    hook = MlflowHook()
    folder = hook.resolve(f"runs:/{run_id}/deep/model")
    assert (folder.source, folder.run_id, folder.name) == (f"{uri}/deep/model", run_id, None)
    found = hook.download(folder, tmp_path / "folder")
    assert sorted(str(path.relative_to(found)) for path in found.rglob("*.txt")) == ["a.txt", "b/c.txt"]
    file = hook.download(hook.resolve(f"runs:/{run_id}/deep/model/a.txt"), tmp_path / "file")
    assert file.read_bytes() == b"a"


@pytest.mark.parametrize(
    "reference",
    ["models:/unheard-of@champion", "models:/bare@none", "models:/bare/99", f"runs:/{'0' * 32}/model"],
)
def test_what_the_registry_does_not_have_is_named(server: Mlflow, reference: str) -> None:
    server.add_model("bare")
    with pytest.raises(RemoteObjectNotFound, match=reference):
        MlflowHook().resolve(reference)


def test_a_version_whose_files_are_gone_is_named(server: Mlflow, tmp_path: Path) -> None:
    run_id, uri = server.add_run({})
    version = server.add_version("hollow", run_id, f"{uri}/model")
    hook = MlflowHook()
    with pytest.raises(RemoteObjectNotFound, match=f"models:/hollow/{version}"):
        hook.download(hook.resolve(f"models:/hollow/{version}"), tmp_path / "hollow")
    with pytest.raises(RemoteObjectNotFound, match=f"runs:/{run_id}/nothing"):
        hook.download(hook.resolve(f"runs:/{run_id}/nothing"), tmp_path / "nothing")


def test_the_workers_environment_neither_counts_nor_changes(
    server: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "something")
    before = dict(os.environ)
    assert MlflowHook().check().startswith(server.url)
    assert dict(os.environ) == before


def test_a_client_that_takes_too_long_is_stopped(server: Mlflow, tmp_path: Path) -> None:
    from datetime import timedelta

    run_id, _ = server.add_run({"a.txt": b"a"})
    found = MlflowHook().resolve(f"runs:/{run_id}/a.txt")
    with pytest.raises(MlopsError, match=r"no answer .* within 0\.05 s"):
        MlflowHook(timeout=timedelta(seconds=0.05)).download(found, tmp_path)
