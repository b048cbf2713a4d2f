"""What the benchmarks share: figures, their table and their file, and measuring in processes of their own."""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt}


@dataclass(frozen=True)
class Figure:
    """One line of the report; ``goal`` reads like ``<= 0.3``, or is empty."""

    name: str
    value: float
    unit: str
    goal: str = ""

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or nothing without a goal."""
        if not self.goal:
            return ""
        sign, number = self.goal.split()
        return "met" if _COMPARE[sign](self.value, float(number)) else "missed"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with ``--json``, and with what a child process is told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def finish(name: str, figures: list[Figure], target: Path | None) -> None:
    """Print the table, and write the file."""
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        goal = f"  goal {figure.goal}: {figure.verdict}" if figure.goal else ""
        print(f"{figure.name:{width}}  {figure.value:>10,.3f} {figure.unit}{goal}")
    if target:
        content = {"benchmark": name, "figures": [asdict(figure) for figure in figures]}
        target.write_text(json.dumps(content, indent=2) + "\n")


def in_child(task: str, settings: Mapping[str, Any], **environment: str) -> dict[str, float]:
    """Run ``task`` of the calling script in a fresh process; see :func:`child`."""
    print(f"  {task} ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, sys.argv[0], "--child", json.dumps({"task": task, **settings})],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def child(tasks: Mapping[str, Callable[..., dict[str, float]]], told: str) -> None:
    """The other side of :func:`in_child`: carry out the task, and print what it measured.

    What the task prints itself, or a thread that it leaves behind, goes to the standard error.
    """
    settings = json.loads(told)
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        json.dump(tasks[settings.pop("task")](**settings), answer)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Wall-clock seconds, CPU seconds, and growth of the process's memory in MB, of the block."""
    result: dict[str, float] = {}
    before = _rss()
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _rss())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    yield result
    result["cpu"] = time.process_time() - cpu
    result["wall"] = time.perf_counter() - wall
    done.set()
    watcher.join()
    result["memory"] = (max(peak[0], _rss()) - before) / 1e6


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
