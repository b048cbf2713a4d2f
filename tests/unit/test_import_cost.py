"""Which modules a DAG file pays for when it imports the package; benchmarks/import_cost.py says how much."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp",
    "bentoml",
    "gitlab",
    "grpc",
    "kubernetes",
    "kubernetes_asyncio",
    "lancedb",
    "mlflow",
    "numpy",
    "onnxruntime",
    "openlineage",
    "pandas",
    "pyarrow",
    "requests",
    "sklearn",
    "tokenizers",
    "uv",
    "weaviate",
}


def _added(program: str) -> set[str]:
    """Top-level modules that ``program`` imports beyond what Airflow's own operator classes need."""
    whole = (
        "import sys; import airflow_provider_mlops.compat\n"
        f"before = set(sys.modules)\n{program}\n"
        "print('added:', *{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("added:"))
    return set(line.split()[1:])


@pytest.mark.parametrize("module", ["operators", "sensors", "triggers", "hooks"])
def test_public_names_import_nothing_heavy(module):
    added = _added(
        f"from airflow_provider_mlops import {module} as public\n"
        "for name in public.__all__: getattr(public, name)"
    )
    assert "airflow_provider_mlops" in added
    assert added & HEAVY == set()


def test_the_check_sees_a_heavy_import():
    assert "numpy" in _added("import numpy") & HEAVY
