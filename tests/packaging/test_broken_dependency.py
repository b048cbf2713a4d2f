"""A dependency that is installed but broken (a wheel for another machine, a half-finished upgrade) stays our problem:
Airflow starts, lists its providers and parses DAGs that use this package."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Imported by this package only, not by Airflow itself.
DEPENDENCIES = ("gitlab", "weaviate", "lancedb", "bentoml", "mlflow", "onnxruntime", "tokenizers", "sklearn")


@pytest.fixture(scope="module")
def broken(interpreter, tmp_path_factory):
    """This environment, where every one of these modules raises when it is imported."""
    folder: Path = tmp_path_factory.mktemp("broken")
    for name in DEPENDENCIES:
        (folder / f"{name}.py").write_text(
            "raise OSError('libbroken.so.1: cannot open shared object file')\n"
        )
    return dataclasses.replace(interpreter, environment={"PYTHONPATH": str(folder)})


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_the_dependency_is_broken_indeed(broken, name):
    done = broken.run("-c", f"import {name}", check=False)
    assert "libbroken.so.1" in done.stderr


def test_airflow_imports(broken):
    broken.run("-c", "import airflow; from airflow.configuration import conf; conf.get('core', 'executor')")


def test_providers_are_listed_without_an_error(broken):
    done = broken.run("-m", "airflow", "providers", "hooks", "--output", "json")
    assert "airflow_provider_mlops.gitlab.hook.GitlabHook" in done.stdout
    assert "libbroken" not in done.stdout + done.stderr
    assert "Error when importing" not in done.stdout + done.stderr


@pytest.mark.parametrize("module", ["operators", "hooks", "sensors", "triggers"])
def test_every_public_name_imports(broken, module):
    broken.run("-c", f"from airflow_provider_mlops.{module} import *")
