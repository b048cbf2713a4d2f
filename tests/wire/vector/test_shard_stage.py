"""The shard inside real Spark and real Ray, in environments that have no Airflow; Airflow only plans and finishes."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.operators import VectorIndexOperator, VectorShardPlanOperator
from airflow_provider_mlops.vector import CallableEmbedder, VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store
from tests.servers.python_environment import PythonEnvironment
from tests.servers.ray import Ray
from tests.servers.spark import Spark
from tests.unit.vector.indexing_contract import documents
from tests.wire.vector.conftest import Reach

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
pytest.importorskip("lancedb")
ROOT = Path(__file__).parents[3]
EMBEDDER = CallableEmbedder("tests.wire.vector.worker_embedding:embed", 64)
CONTEXT = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)}


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "docs").mkdir()
    for part in range(4):
        lines = "".join(json.dumps(doc) + "\n" for doc in documents()[part::4])
        (tmp_path / "docs" / f"{part}.jsonl").write_text(lines)
    return str(tmp_path / "docs")


@pytest.fixture
def on_lance(tmp_path: Path) -> VectorIndex:
    return VectorIndex("Docs", embedder=EMBEDDER, properties={"year": "int"}, uri=str(tmp_path / "lance"))


@pytest.fixture
def on_weaviate(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> VectorIndex:
    uri = f"weaviate://{reach.info.host}:{reach.info.port}/?grpc_port={reach.info.extra['grpc_port']}"
    monkeypatch.setenv("AIRFLOW_CONN_W", uri)
    return VectorIndex(
        reach.index, embedder=EMBEDDER, properties={"year": "int"}, backend="weaviate", conn_id="w"
    )


def opened(index: VectorIndex) -> AbstractContextManager[Store]:
    return open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connection_info
    )


def load(
    program: type[PythonEnvironment], snippet: str, plan: Any, index: VectorIndex, source: str, **env: str
) -> dict[str, int]:
    """Run a snippet of the documentation as it is, in its own environment."""
    folder = Path(source).parent
    for name, content in {"index": index.to_json(), "plan": plan}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "AIRFLOW_CONN_W") if name in os.environ}
    own = {
        "PYTHONPATH": str(ROOT),
        "EMBEDDED_TEXTS": str(folder / "embedded"),
        "LANCEDB_LOG": "error",
    }
    done = subprocess.run(
        [program.python(), ROOT / "docs" / "snippets" / snippet, folder / "index.json", folder / "plan.json", source],
        env={**kept, **own, **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=350,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def check(
    program: type[PythonEnvironment],
    snippet: str,
    index: VectorIndex,
    source: str,
    *,
    killed: bool = False,
    **env: str,
) -> None:
    """Plan, load (with one worker killed on the way), finish: nothing is embedded twice, except what died with it."""
    files = f"{source}/*.jsonl"
    plan = VectorShardPlanOperator(task_id="t", index=index, source=files, shards=4).execute(CONTEXT)
    died = Path(source).parent / "died"
    if killed:
        env["DIE_ONCE"] = str(died)
    counts = load(program, snippet, json.loads(json.dumps(plan)), index, source, **env)
    assert died.exists() is killed
    assert (counts["chunks"], counts["bad"]) == (60, 0)
    with opened(index) as store:
        assert store.live() is None
    payload = VectorIndexOperator(task_id="t", index=index, source=files, loaded=plan).execute(CONTEXT)
    assert (payload["version"], payload["active"], payload["documents"]) == (plan["version"], True, 60)
    # The embedder wants an environment without Airflow: here there was nothing left to embed.
    assert payload["embedded"] == 0
    with opened(index) as store:
        live = store.live()
        assert live is not None
        snapshot = store.read(live.name)
        rows = snapshot.rows([chunk for chunk, _, _ in snapshot.scan()])
    assert {row.doc: row.text for row in rows.values()} == {doc["id"]: doc["text"] for doc in documents()}


@pytest.mark.server("spark")
@pytest.mark.parametrize("place", ["on_lance", "on_weaviate"])
def test_spark_loads_in_several_partitions_and_repeats_a_task_that_was_killed(
    place: str, source: str, request: pytest.FixtureRequest
) -> None:
    if place == "on_weaviate":
        request.getfixturevalue("weaviate_server")
    settings = (
        "--master local[2,4] --conf spark.ui.enabled=false --conf spark.default.parallelism=4 "
        "--conf spark.driver.bindAddress=127.0.0.1 --conf spark.driver.host=127.0.0.1"
    )
    check(
        Spark, "vector_spark.py", request.getfixturevalue(place), source, killed=True,
        PYSPARK_PYTHON=str(Spark.python()), PYSPARK_SUBMIT_ARGS=f"{settings} pyspark-shell",
        SPARK_LOCAL_IP="127.0.0.1",
    )  # fmt: skip


@pytest.mark.server("ray")
def test_ray_loads_in_several_actors(on_lance: VectorIndex, source: str) -> None:
    check(
        Ray, "vector_ray.py", on_lance, source,
        RAY_USAGE_STATS_ENABLED="0", RAY_DATA_DISABLE_PROGRESS_BARS="1", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )  # fmt: skip
