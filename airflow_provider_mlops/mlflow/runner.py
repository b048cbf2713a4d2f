"""Asks MLflow one question, in a process of its own. Standard library only, besides MLflow itself.

MLflow's client takes its credentials from environment variables and keeps them in module-wide state; here both
are this process's own, so the worker's stay as they are. The question comes as JSON on standard input, the
answer is one JSON object on the first standard output; all that MLflow prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
#: MLflow writes name and version into every model that it fetches; the same model would differ between versions.
_ADDED = "registered_model_meta"


def main() -> None:
    """Read the question, ask, write the answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if sys.platform == "linux":
        # A worker that is killed outright cannot stop us: the kernel does.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    question = json.load(sys.stdin)
    os.environ.update(question["environment"])
    try:
        answer = {"answer": ACTIONS[question["action"]](**question["arguments"])}
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker has to be told
        answer = {"error": describe(error)}
    json.dump(answer, answers)
    answers.flush()
    # Threads that MLflow left behind have no say any more.
    os._exit(0)


def check() -> dict[str, Any]:
    """Look at one experiment, which any account may."""
    from mlflow import MlflowClient

    MlflowClient().search_experiments(max_results=1)
    return {}


def resolve(name: Any, alias: Any, version: Any, run_id: Any) -> dict[str, Any]:
    """Version, run and place of a registered model, or the place of a run."""
    from mlflow import MlflowClient

    client = MlflowClient()
    if name is None:
        return {
            "name": None,
            "version": None,
            "run_id": run_id,
            "source": client.get_run(run_id).info.artifact_uri,
        }
    found = (
        client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    )
    return {
        "name": found.name,
        "version": str(found.version),
        "run_id": found.run_id or None,
        "source": client.get_model_version_download_uri(name, str(found.version)),
    }


def download(reference: str, folder: str) -> dict[str, Any]:
    """Copy the files of a version or of a run's artifact into a folder."""
    from mlflow import artifacts

    path = Path(artifacts.download_artifacts(artifact_uri=reference, dst_path=folder))
    if path.is_dir():
        (path / _ADDED).unlink(missing_ok=True)
    return {"path": str(path)}


ACTIONS: dict[str, Any] = {"check": check, "resolve": resolve, "download": download}


def describe(error: Exception) -> dict[str, Any]:
    """An exception as words and, where one can be told, the HTTP status that it stands for."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is None and hasattr(error, "get_http_status_code"):
        status = error.get_http_status_code()
    return {
        "type": type(error).__name__,
        "status": status,
        "words": " ".join(str(error).split()),
        "missing_module": getattr(error, "name", None) if isinstance(error, ImportError) else None,
        "storage": isinstance(error, OSError) and response is None,
    }


if __name__ == "__main__":
    main()
