"""Airflow in processes of its own: what a DAG folder sees there, not what the tests' process has imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Airflow:
    """A private Airflow home with a DAG folder."""

    home: Path
    dags: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``python words...`` outside the repository; its output is shown when it fails."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))
        }
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
        }
        done = subprocess.run(
            [sys.executable, "-P", *words],
            cwd=self.home,
            env={**inherited, **own, **self.variables},
            capture_output=True,
            text=True,
            timeout=220,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "airflow-home"
    folder.mkdir()
    return folder
