"""The wheel alone, installed into a clean environment with Airflow and no extra."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from airflow_provider_mlops import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def test_wheel_holds_the_package_and_the_examples_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    metadata = f"airflow_provider_mlops-{__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"airflow_provider_mlops", metadata}
    assert "airflow_provider_mlops/py.typed" in names
    assert f"{metadata}/licenses/LICENSE" in names
    examples = {
        f"airflow_provider_mlops/example_dags/{path.relative_to(ROOT / 'example_dags').as_posix()}"
        for path in (ROOT / "example_dags").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert examples
    assert examples <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))] == []


def test_every_public_name_imports(clean_installation):
    for module in ("operators", "hooks", "sensors", "triggers"):
        clean_installation.run("-c", f"from airflow_provider_mlops.{module} import *")


def test_the_package_comes_from_the_wheel(clean_installation):
    done = clean_installation.run("-c", "import airflow_provider_mlops as package; print(package.__file__)")
    assert "site-packages" in done.stdout


def test_the_provider_is_listed(clean_installation):
    done = clean_installation.run("-m", "airflow", "providers", "list", "--output", "json")
    (rows,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("[{"))
    assert {"airflow-provider-mlops": __version__}.items() <= {
        row["package_name"]: row["version"] for row in rows
    }.items()


def test_the_command_line_answers_without_extras(clean_installation):
    done = clean_installation.run("-m", "airflow_provider_mlops", "--help")
    assert "usage:" in done.stdout
