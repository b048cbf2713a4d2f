"""CPU time of importing every public operator, on top of what ``import airflow`` costs anyway.

    python benchmarks/import_cost.py [--runs 5] [--json FILE]

Every scheduler, worker and DAG processor pays it for each DAG file that uses the package. Each run is a
fresh process; the smallest of the runs counts, because noise only adds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GOAL_SECONDS = 0.3

PROGRAM = """
import json, time
started = time.process_time()
import airflow
figures = {"import airflow": time.process_time() - started}
from airflow_provider_mlops import operators
for name in operators.__all__:
    before = time.process_time()
    getattr(operators, name)
    figures[name] = time.process_time() - before
print(json.dumps(figures))
"""


def measure(runs: int) -> dict[str, float]:
    """CPU seconds of each step, in import order, of the run in which our operators together took least.

    A module that several operators share is counted with the first of them.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        command = [sys.executable, "-c", PROGRAM]
        # The first process writes byte code and airflow.cfg; it is not counted.
        results = [
            json.loads(
                subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            )
            for _ in range(runs + 1)
        ][1:]
    best: dict[str, float] = min(
        results, key=lambda figures: sum(figures.values()) - figures["import airflow"]
    )
    return best


def report(seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Figures for ``--json``."""
    operators = sum(seconds.values()) - seconds["import airflow"]
    return [
        {
            "name": "import of every public operator, on top of import airflow",
            "value": round(operators, 3),
            "unit": "s CPU",
            "goal": f"<= {GOAL_SECONDS}",
        },
        {"name": "import airflow", "value": round(seconds["import airflow"], 3), "unit": "s CPU", "goal": ""},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="fresh processes to measure (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    args = parser.parse_args()

    seconds = measure(args.runs)
    for name, value in seconds.items():
        print(f"{name:30} {value:7.3f} s CPU")
    figures = report(seconds)
    print(f"{'all our operators':30} {figures[0]['value']:7.3f} s CPU   goal {figures[0]['goal']}")
    if args.json:
        args.json.write_text(json.dumps({"benchmark": "import_cost", "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
