"""Configuration shown in the documentation is what Airflow accepts, in every supported version."""

from __future__ import annotations

import configparser
import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3, Connection
from airflow_provider_mlops.get_provider_info import CONNECTION_TYPES

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
CONFIGURATIONS = sorted(SNIPPETS.glob("*.cfg"))

LOCAL = "airflow.executors.local_executor.LocalExecutor"
CELERY = "airflow.providers.celery.executors.celery_executor.CeleryExecutor"
KUBERNETES = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"
EDGE = "airflow.providers.edge3.executors.EdgeExecutor"

EXECUTORS = {
    "local": [LOCAL],
    "celery": [CELERY],
    "kubernetes": [KUBERNETES],
    "several": [LOCAL, KUBERNETES],
    "edge": [LOCAL, EDGE],
}

# Airflow is imported once; each file is then read, with Airflow's own parser, in a fork of that process.
PROGRAM = """
import json, os, sys
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException
from airflow.executors.executor_loader import ExecutorLoader
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
known = {section: list(told["options"]) for section, told in conf.configuration_description.items()}
for path in sys.argv[1:]:
    if os.fork() == 0:
        conf.read(path)
        told = {"path": path, "known": known, "artifacts": conf.get("mlops", "artifacts")}
        try:
            told["executors"] = [name.module_path for name in ExecutorLoader.get_executor_names()]
        except AirflowConfigException as error:
            told["refused"] = str(error)
        print("read:", json.dumps(told), flush=True)
        os._exit(0)
    os.wait()
"""

REFUSED = {"twice": "LocalExecutor,LocalExecutor", "alias-without-module": "edge:EdgeExecutor"}


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What Airflow makes of each configuration file, by the file's stem."""
    home: Path = tmp_path_factory.mktemp("airflow-home")
    wrong = []
    for stem, executors in REFUSED.items():
        wrong.append(home / f"{stem}.cfg")
        wrong[-1].write_text(f"[core]\nexecutor = {executors}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, [*CONFIGURATIONS, *wrong])],
        env={**environment, "AIRFLOW_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("read:")]
    assert len(lines) == len(CONFIGURATIONS) + len(wrong), done.stdout + done.stderr
    told = [json.loads(line.removeprefix("read:")) for line in lines]
    return {Path(each["path"]).stem: each for each in told}


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_airflow_reads_the_configuration(path, read):
    told = read[path.stem]
    shown = configparser.ConfigParser(interpolation=None)
    shown.read(path)
    unknown = [
        f"[{section}] {option}"
        for section in shown.sections()
        for option in shown.options(section)
        if option not in told["known"].get(section, [])
    ]
    assert unknown == []
    assert told["artifacts"] == shown.get("mlops", "artifacts", fallback="")
    if shown.has_option("core", "executor"):
        assert told["executors"] == EXECUTORS[path.stem]


@pytest.mark.parametrize("stem", REFUSED)
def test_a_wrong_executor_line_is_refused(stem, read):
    assert read[stem]["refused"]


@pytest.mark.skipif(not AIRFLOW_3, reason="the example is written for Airflow 3")
def test_a_task_chooses_one_of_several_executors():
    snippet = runpy.run_path(str(SNIPPETS / "executor_per_task.py"))
    tasks = snippet["two_executors"]().task_dict
    assert {name: task.executor for name, task in tasks.items()} == {
        "train": "KubernetesExecutor",
        "report": None,
    }


def test_connections_from_the_environment_are_of_our_types_and_complete():
    shown = dict(word.split("=", 1) for word in shlex.split((SNIPPETS / "connections.env").read_text()))
    ours = {f"AIRFLOW_CONN_{entry['connection-type'].upper()}_DEFAULT": entry for entry in CONNECTION_TYPES}
    assert set(shown) == set(ours)
    for name, text in shown.items():
        connection = Connection.from_json(text, conn_id=name.removeprefix("AIRFLOW_CONN_").lower())
        assert connection.conn_type == ours[name]["connection-type"]
        assert connection.host


def test_the_readme_shows_lines_of_the_example():
    root = SNIPPETS.parents[1]
    shown = (root / "README.md").read_text().split("```python\n")[1].split("```")[0]
    example = (root / "example_dags" / "release_pipeline.py").read_text().replace("  # fmt: skip", "")
    lines = {line.strip() for line in example.splitlines()}
    assert [line for line in shown.splitlines() if line.strip() not in lines] == []
