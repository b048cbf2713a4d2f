"""``airflow providers ...`` shows the package, and says nothing else about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops import __version__
from airflow_provider_mlops.compat import AIRFLOW_3_3
from airflow_provider_mlops.get_provider_info import get_provider_info

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

INFO = get_provider_info()


def _listing(interpreter: Any, what: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that are listed, and the lines said beside them that concern us or any failure."""
    done = interpreter.run("-m", "airflow", "providers", what, "--output", "json")
    said = [line for line in done.stdout.splitlines() if not line.startswith("[{")] + done.stderr.splitlines()
    (rows,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("[{"))
    alarming = ("airflow_provider_mlops", "airflow-provider-mlops", "Error", "ERROR", "Traceback")
    return rows, [line for line in said if any(word in line for word in alarming)]


def test_list(interpreter):
    rows, said = _listing(interpreter, "list")
    ours = [row for row in rows if row["package_name"] == "airflow-provider-mlops"]
    assert [row["version"] for row in ours] == [__version__]
    assert said == []


def test_hooks(interpreter):
    rows, said = _listing(interpreter, "hooks")
    ours = {row["connection_type"]: row for row in rows if row["package_name"] == "airflow-provider-mlops"}
    assert {(kind, row["class"], row["hook_name"]) for kind, row in ours.items()} == {
        (entry["connection-type"], entry["hook-class-name"], entry["hook-name"])
        for entry in INFO["connection-types"]
    }
    assert said == []


def test_links(interpreter):
    rows, said = _listing(interpreter, "links")
    listed = {row["extra_link_class_name"] for row in rows}
    assert set(INFO["extra-links"]) <= listed
    assert said == []


@pytest.mark.skipif(not AIRFLOW_3_3, reason="Airflow 3.3 is the first to take commands from providers")
def test_the_command_is_part_of_the_airflow_command(interpreter):
    done = interpreter.run("-m", "airflow", "mlops", "--help", check=False)
    assert "mlops" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
