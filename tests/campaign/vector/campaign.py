"""Many lives, until so many processes have died, and what they add up to."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.campaign.vector.life import Life
from tests.servers.weaviate import Weaviate

#: What dies where.
PARTS = ("lancedb", "weaviate", "weaviate server")
Figures = dict[str, dict[str, Any]]


def play(
    part: str,
    kills: int,
    *,
    first: int = 0,
    seed: int | None = None,
    jobs: int = 1,
    sabotage: str | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Play lives until enough kills have struck.

    :param part: one of :data:`PARTS`.
    :param seed: only this life, whatever its kills.
    :returns: figures; ``findings`` holds a line per broken promise.
    """
    total: Counter[str] = Counter()
    findings: list[str] = []
    events: list[str] = []
    seeds: Iterator[int] = iter([seed]) if seed is not None else itertools.count(first)
    lock = threading.Lock()

    def lives(_: int) -> None:
        server = None if part == "lancedb" else Weaviate()
        if server:
            server.start()
        try:
            while True:
                with lock:
                    number = next(seeds, None) if seed is not None or total["kills"] < kills else None
                if number is None:
                    return
                life = _live(part, number, server, sabotage, tell)
                with lock:
                    total["lives"] += 1
                    total.update(life.figures)
                    findings.extend(f"seed {number}: {text}" for text in life.findings)
                    if seed is not None:
                        events.extend(life.events)
        finally:
            if server:
                server.stop()

    with ThreadPoolExecutor(jobs) as threads:
        list(threads.map(lives, range(jobs)))
    for event in events:
        tell(f"  {event}")
    return {**dict(sorted(total.items())), "findings": findings}


def _live(
    part: str, seed: int, server: Weaviate | None, sabotage: str | None, tell: Callable[[str], None]
) -> Life:
    folder = tempfile.mkdtemp(prefix="mlops-campaign-")
    place: dict[str, Any] = {"uri": folder}
    if server:
        place = {
            "host": server.host, "port": server.ports["http"], "extra": {"grpc_port": server.ports["grpc"]},
        }  # fmt: skip
    dying = server if part == "weaviate server" else None
    life = Life(part.split()[0], seed, place, dying, sabotage, tell)
    try:
        life.live()
    except Exception:  # noqa: BLE001 - one broken life must not end the campaign
        life._finding(f"the life broke off: {traceback.format_exc(limit=-4)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return life


def table(figures: Figures) -> str:
    """For people."""
    names = (
        "lives", "kills", "repairs", "busy", "checks", "reader queries", "reader misses", "reader errors",
        "reader hidden by the crash", "healed by runs", "hidden until the audit", "healed by audits",
    )  # fmt: skip
    rows = ["".ljust(28) + "".join(part.rjust(18) for part in figures)]
    for name in names:
        rows.append(name.ljust(28) + "".join(str(figures[part].get(name, 0)).rjust(18) for part in figures))
    rows.append(
        "findings".ljust(28) + "".join(str(len(figures[part]["findings"])).rjust(18) for part in figures)
    )
    phases = sorted({name for sums in figures.values() for name in sums if name.startswith("in ")})
    rows.append("killed")
    rows += [
        f"  {name}".ljust(28) + "".join(str(figures[part].get(name, 0)).rjust(18) for part in figures)
        for name in phases
    ]
    return "\n".join(rows)
