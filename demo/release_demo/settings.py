"""Where the demo keeps things, and the environment its processes get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

SERVICE = "docs-search"
PROJECT = "ml/docs-search"
CHANNEL = "production"


def uri(path: Path) -> str:
    """URI of a folder as Airflow's ObjectStoragePath reads it, which decodes nothing: a space stays a space."""
    return f"file://{path}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths below the demo's root folder.

    :param root: folder of everything that the demo makes.
    """

    root: Path

    @property
    def airflow_home(self) -> Path:
        return self.root / "airflow"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def releases(self) -> Path:
        return self.artifacts / "releases"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def gitlab(self) -> Path:
        return self.root / "gitlab"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def events(self) -> Path:
        return self.logs / "events.jsonl"

    @property
    def examples(self) -> Path:
        """The example DAGs inside the installed package."""
        return Path(str(files("airflow_provider_mlops") / "example_dags"))

    @property
    def dags(self) -> Path:
        """Airflow's DAG folder."""
        return self.root / "dags"

    def airflow(self, gitlab: Mapping[str, Any]) -> dict[str, str]:
        """Variables for Airflow: configuration and the connections of the example DAGs."""
        return {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # The first `dags test` registers the DAG; paused, its runs would queue for ever later on.
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__MLOPS__ARTIFACTS": uri(self.artifacts),
            "AIRFLOW__MLOPS__POLL_INTERVAL": "1",
            "AIRFLOW_CONN_GITLAB_DEFAULT": json.dumps(
                {"conn_type": "gitlab", "host": gitlab["url"], "password": gitlab["token"]}
            ),
            "AIRFLOW_CONN_OCI_REGISTRY_DEFAULT": json.dumps(
                {"conn_type": "oci_registry", "host": uri(self.images)}
            ),
            "LANCEDB_LOG": "error",
        }

    def progress(self) -> dict[str, str]:
        """Variables that make Airflow report its tasks to the demo."""
        return {
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parent / "plugins"),
            "DEMO_EVENTS": str(self.events),
            "PYTHONWARNINGS": "ignore",
        }
