"""Bentos from models in a real MLflow registry."""

from __future__ import annotations

import json
import logging
import tarfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.operators import BentoBuildOperator
from tests.servers.mlflow import Mlflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.server("mlflow")]

ML_MODEL = b"flavors: {}\n"


def register(server: Mlflow, factor: float) -> tuple[str, str]:
    """Another version of the model; its number and run."""
    weights = json.dumps({"factor": factor}).encode()
    run_id, uri = server.add_run({"model/MLmodel": ML_MODEL, "model/weights.json": weights})
    return server.add_version("scorer", run_id, f"{uri}/model"), run_id


def model_files(payload: dict[str, Any]) -> dict[str, str]:
    """Files of the model in the archive, without the folders that they lie in."""
    with tarfile.open(payload["uri"]) as tar:
        return {
            name.rpartition("/")[2]: tar.extractfile(name).read().decode()  # type: ignore[union-attr]
            for name in tar.getnames()
            if name.startswith("models/classifier/") and not name.endswith("latest")
        }


def test_the_alias_decides_which_files_and_the_files_which_bento(
    isolated: Any,
    context: Path,
    mlflow_server: Mlflow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = {
        "conn_type": "mlflow",
        "host": mlflow_server.url,
        "login": mlflow_server.login,
        "password": mlflow_server.password,
    }
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
    caplog.set_level(logging.INFO)

    def build() -> Any:
        return BentoBuildOperator(
            task_id="build",
            context=str(context),
            store=str(tmp_path / "store"),
            models={"classifier": "models:/scorer@champion"},
            isolation="external",
            python=str(isolated.python),
        ).execute({})

    first_version, first_run = register(mlflow_server, 2.5)
    mlflow_server.set_alias("scorer", "champion", first_version)
    first = build()
    origin = {
        "system": "mlflow",
        "tracking_uri": mlflow_server.url,
        "registered_model": "scorer",
        "version": first_version,
        "run_id": first_run,
        "source": f"mlflow-artifacts:/0/{first_run}/artifacts/model",
    }
    assert first["origins"] == {"classifier": {"reference": "models:/scorer@champion", **origin}}
    files = model_files(first)
    assert files.keys() == {"MLmodel", "weights.json", "model.yaml"}
    assert json.loads(files["weights.json"]) == {"factor": 2.5}
    for key, value in origin.items():
        assert key in files["model.yaml"]
        assert value in files["model.yaml"]
    # The alias may mean another version tomorrow; what is in the archive stays true.
    assert "champion" not in files["model.yaml"]

    # The same files under another version: the same Bento, under its present name.
    same_version, same_run = register(mlflow_server, 2.5)
    mlflow_server.set_alias("scorer", "champion", same_version)
    again = build()
    assert (again["reused"], again["digest"], again["models"]) == (True, first["digest"], first["models"])
    assert (again["origins"]["classifier"]["version"], again["origins"]["classifier"]["run_id"]) == (
        same_version,
        same_run,
    )

    # Other files: another Bento.
    other_version, _ = register(mlflow_server, 3.5)
    mlflow_server.set_alias("scorer", "champion", other_version)
    other = build()
    assert other["version"] != first["version"]
    assert json.loads(model_files(other)["weights.json"]) == {"factor": 3.5}

    secret = mlflow_server.password
    assert secret not in json.dumps([first, again, other]) + caplog.text
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()
