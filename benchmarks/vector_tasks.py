"""What it takes as tasks of Airflow to bring Parquet files into Weaviate: with our operator, and the official ones.

    python benchmarks/vector_tasks.py [--objects 20000] [--corpus usual] [--runs 2] [--json FILE]

Each way is a DAG that ``airflow dags test`` runs (benchmarks/_dags/parquet_to_weaviate.py). The official operators get their
data from a task before them, as in their guide: a list of dictionaries or a frame, which Airflow hands over as an XCom.
Ours is told where the files are; what it takes includes that every object is looked up by its vector, that the contents
are compared with the source, and that readers are switched over.

The objects are those of vector_ingest.py; the best of the runs counts. It needs the tests' Weaviate
(``make servers``), and the official provider in ``build/benchmarks/peers``, where it is installed.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from _report import Figure, arguments, finish
from _vectors import CORPORA
from _weaviate_ways import (
    COLLECTION,
    airflow_connection,
    client,
    fresh_collection,
    installed_provider,
    real_server,
)

OFFICIAL = {"list": "a list", "frame": "a frame", "documents": "a frame, by document"}
AIRFLOW = Path(sys.executable).parent / "airflow"


def airflow(*words: str) -> None:
    """Run a command of Airflow; what it says is shown when it fails."""
    done = subprocess.run([AIRFLOW, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"airflow {' '.join(words)}:\n{done.stdout}{done.stderr}")


def seconds(home: Path, dag: str) -> dict[str, float]:
    """How long each task of the last run of a DAG took."""
    database = sqlite3.connect(home / "airflow.db")
    try:
        found = database.execute(
            "select task_id, duration from task_instance where dag_id = ? and state = 'success' order by start_date",
            (dag,),
        )
        return dict(found.fetchall())
    finally:
        database.close()


def report(count: int, corpus: str, runs: int) -> list[Figure]:
    provider = installed_provider()
    dags = ["ours", *(OFFICIAL if provider else ())]
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, real_server() as ports:
        if ports is None:
            return []
        home, source = Path(folder, "airflow"), Path(folder, "source")
        source.mkdir()
        CORPORA[corpus].write_parquet(source, count)
        os.environ |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "_dags"),
            "AIRFLOW_CONN_WEAVIATE_DEFAULT": airflow_connection(**ports),
            "BENCHMARK_SOURCE": str(source),
            "BENCHMARK_CORPUS": corpus,
        }
        airflow("db", "migrate")
        for number in range(runs):
            # In another order each time, as in vector_ingest.py.
            for dag in random.Random(number).sample(dags, len(dags)):
                print(f"  {dag} ...", file=sys.stderr, flush=True)
                fresh_collection(ports, "hnsw", corpus)
                airflow("dags", "test", dag)
                took = seconds(home, dag)
                if dag != "ours":
                    with client(**ports) as connected:
                        there = connected.collections.use(COLLECTION).aggregate.over_all().total_count
                        assert there == count, f"{dag}: {there} objects"
                if dag not in best or sum(took.values()) < sum(best[dag].values()):
                    best[dag] = took
    return figures(best, count)


def figures(best: dict[str, dict[str, float]], count: int) -> list[Figure]:
    """What each way took, and how it compares."""
    ours = sum(best["ours"].values())
    found = [Figure("ours, all of it", count / ours, "objects/s")]
    for dag, name in OFFICIAL.items():
        if dag in best:
            took = best[dag]
            found += [
                Figure(f"official, {name}: the task that writes", count / took["write"], "objects/s"),
                Figure(
                    f"official, {name}: with the task that reads", count / sum(took.values()), "objects/s"
                ),
                Figure(f"official, {name}: time of the task that writes, of ours", took["write"] / ours, "x"),
                Figure(f"official, {name}: time of both, of ours", sum(took.values()) / ours, "x"),
            ]
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--objects", type=int, default=20_000, help="objects per way (default: 20000)")
    parser.add_argument(
        "--corpus", choices=CORPORA, default="usual", help="what they are like (default: usual)"
    )
    parser.add_argument("--runs", type=int, default=2, help="runs of each way (default: 2)")
    args = parser.parse_args()
    if found := report(args.objects, args.corpus, args.runs):
        finish("vector_tasks", found, args.json)


if __name__ == "__main__":
    main()
