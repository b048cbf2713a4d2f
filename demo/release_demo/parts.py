"""The parts that the demo's steps are made of."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airflow_provider_mlops.bento.child_process import ChildProcess
from airflow_provider_mlops.bento.environment import default_cache, ensure_environment
from airflow_provider_mlops.bento.index_access import index_access
from airflow_provider_mlops.example_dags.docs_search.runtime import REQUIREMENTS
from airflow_provider_mlops.oci.publish import unpack_image
from airflow_provider_mlops.release.ledger import ReleaseLedger
from release_demo.processes import child
from release_demo.settings import CHANNEL, PROJECT, SERVICE, Settings

ENVIRONMENT_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """The isolated environment that builds and serves the Bento."""

    bentoml: Path
    reused: bool


def service_environment(on_line: Callable[[str], None]) -> Runtime:
    """Make the environment that the build task will find in its cache, so that no task waits for downloads."""
    made = ensure_environment(
        REQUIREMENTS, cache=default_cache(), python=None, access=index_access(os.environ), child=ChildProcess(),
        on_line=on_line, timeout=ENVIRONMENT_WITHIN,
    )  # fmt: skip
    return Runtime(made.python.with_name("bentoml"), made.reused)


@contextlib.contextmanager
def gitlab(settings: Settings, runtime: Runtime) -> Iterator[dict[str, Any]]:
    """The GitLab stand-in; its jobs find this package's Python, and bentoml."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), str(runtime.bentoml.parent), os.environ["PATH"]]
    )
    command = [sys.executable, "-P", "-m", "airflow_provider_mlops", "testing", "gitlab",
               "--root", str(settings.gitlab), "--project", PROJECT]  # fmt: skip
    log = settings.logs / "gitlab.log"
    with child(command, environment={**os.environ, "PATH": path}, log=log, pipe=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"The GitLab stand-in did not start:\n{log.read_text(errors='replace')}")
        yield json.loads(line)


def fill_project(settings: Settings, server: Mapping[str, Any]) -> None:
    """Commit the example's pipeline to the stand-in's project, as a person would push it; nothing if it is there."""
    import gitlab as python_gitlab

    client = python_gitlab.Gitlab(server["url"], private_token=server["token"], timeout=30)
    project = client.projects.get(PROJECT)
    actions = []
    for path in sorted((settings.examples / "docs_search" / "gitlab_project").iterdir()):
        if not path.is_file():
            continue
        content = path.read_text(encoding="utf-8")
        try:
            present = project.files.raw(path.name, ref="main").decode()
        except python_gitlab.GitlabGetError as error:
            if error.response_code != 404:
                raise
            present = None
        if present != content:
            action = "create" if present is None else "update"
            actions.append({"action": action, "file_path": path.name, "content": content})
    if actions:
        project.commits.create(
            {"branch": "main", "commit_message": "Serve, ask and publish the Bento", "actions": actions}
        )


def copy_dags(settings: Settings) -> None:
    """Copy the example into Airflow's DAG folder, as an author would who takes it as a template."""
    shutil.rmtree(settings.dags, ignore_errors=True)
    settings.dags.mkdir(parents=True)
    for name in ("release_pipeline.py", "rollback.py"):
        shutil.copy2(settings.examples / name, settings.dags)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(settings.examples / "docs_search", settings.dags / "docs_search", ignore=ignored)


def migrate(settings: Settings, variables: Mapping[str, str]) -> bool:
    """Make Airflow's database, unless this Airflow made it before; returns whether it was there."""
    marker = settings.airflow_home / "migrated"
    current = version("apache-airflow")
    if marker.exists() and marker.read_text() == current:
        return True
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "airflow", "db", "migrate"],
        env=dict(variables),
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise RuntimeError(f"airflow db migrate failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    marker.write_text(current)
    return False


def ledger(settings: Settings) -> ReleaseLedger:
    """Releases of the demo's service."""
    return ReleaseLedger(settings.releases, SERVICE, CHANNEL)


@dataclass(frozen=True, slots=True)
class Live:
    """What is live: after a rollback, the release that was restored.

    :param features: training features of its model.
    """

    release_id: str
    features: str


def live_release(settings: Settings) -> Live | None:
    """The release that answers now."""
    current = ledger(settings).current()
    if current is None:
        return None
    return Live(current.restores or current.release_id, current.parts["model"]["features"])


@contextlib.contextmanager
def released_bento(settings: Settings) -> Iterator[tuple[Path, dict[str, str]]]:
    """The Bento out of the image that is live, and what tells it which release it is and which index to read."""
    record = ledger(settings).current()
    if record is None:
        raise RuntimeError("Nothing is released")
    image, index = record.parts["image"], record.parts["index"]
    variables = {
        "RELEASE_ID": record.restores or record.release_id,
        "INDEX_URI": index["uri"],
        "INDEX_TABLE": index["physical"],
        "INDEX_VERSION": index["version"],
    }
    with tempfile.TemporaryDirectory(prefix="released-") as folder:
        yield unpack_image(image["image"], Path(folder) / "bento"), variables
