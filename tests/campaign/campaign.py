"""Many runs side by side, and what they add up to."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from airflow_provider_mlops.testing.gitlab import GitlabStandIn
from tests.campaign.airflow_side import airflow
from tests.campaign.fast_time import FastLoop
from tests.campaign.plan import KEYED, draw
from tests.campaign.script import JobScript
from tests.campaign.world import Run, Verdict

#: Runs at once in one process; each has a stand-in for itself.
SIDE_BY_SIDE = 12

Seed = tuple[str, int]
Tally = dict[str, dict[str, Any]]


def play_seeds(seeds: Sequence[Seed], *, jobs: int = 1, show_events: bool = False) -> Tally:
    """Play every seed; print what broke.

    :param seeds: tier and seed of each run.
    :param jobs: processes.
    """
    if jobs == 1 or len(seeds) < 2 * SIDE_BY_SIDE:
        rows = _play(seeds, show_events)
    else:
        parts = [seeds[number::jobs] for number in range(jobs)]
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows = [row for part in pool.map(_play, parts) for row in part]
    return _add_up(rows)


def _play(seeds: Sequence[Seed], show_events: bool = False) -> list[dict[str, Any]]:
    with airflow(), asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(_play_all(seeds, show_events))


async def _play_all(seeds: Sequence[Seed], show_events: bool) -> list[dict[str, Any]]:
    waiting = list(reversed(seeds))
    rows: list[dict[str, Any]] = []
    threads = ThreadPoolExecutor(SIDE_BY_SIDE * 8)

    async def one_after_the_other() -> None:
        script = JobScript()
        gitlab = await asyncio.to_thread(GitlabStandIn(executor=script).start)
        while waiting:
            tier, seed = waiting.pop()
            run = Run(draw(seed, tier), gitlab, threads)
            script.run_of = run
            verdict = await run.play()
            _show(verdict, show_events)
            rows.append(_figures(verdict))
            await asyncio.to_thread(_clean, gitlab)
        # Its threads may wait for this loop.
        await asyncio.to_thread(gitlab.close)

    try:
        await asyncio.gather(*[one_after_the_other() for _ in range(min(SIDE_BY_SIDE, len(seeds)))])
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    return rows


def _clean(gitlab: GitlabStandIn) -> None:
    """Nothing of a run is left for the next one."""
    gitlab.faults.clear()
    for pipeline in gitlab.pipelines():
        gitlab.api.creator.lifecycle.cancel_pipeline(pipeline)
        gitlab.wait(pipeline)
    gitlab.project.pipelines.clear()
    gitlab.requests.clear()


def _show(verdict: Verdict, show_events: bool) -> None:
    if verdict.broken or show_events:
        text = [str(verdict.plan), *verdict.events, *(f"BROKEN: {each}" for each in verdict.broken)]
        print("\n  ".join(text), flush=True)


def _figures(verdict: Verdict) -> dict[str, Any]:
    return {
        "tier": verdict.plan.tier,
        "broken": bool(verdict.broken),
        "attempts": verdict.attempts,
        "made": verdict.made,
        "duplicates_made": verdict.duplicates_made,
        "duplicates_left": verdict.duplicates_left,
        "requests": verdict.requests,
    }


def _add_up(rows: Sequence[dict[str, Any]]) -> Tally:
    tally: Tally = {}
    for row in rows:
        sums = tally.setdefault(
            row["tier"], {"runs": 0, "keyed": row["tier"] in KEYED, "runs_with_duplicates_left": 0}
        )
        sums["runs"] += 1
        sums["runs_with_duplicates_left"] += bool(row["duplicates_left"])
        for name in ("broken", "attempts", "made", "duplicates_made", "duplicates_left", "requests"):
            sums[name] = sums.get(name, 0) + row[name]
    return tally


def table(tally: Tally) -> str:
    """For people."""
    names = ("runs", "attempts", "made", "duplicates_made", "duplicates_left", "requests", "broken")
    rows = ["tier".ljust(28) + "".join(name.rjust(17) for name in names)]
    rows += [
        tier.ljust(28) + "".join(str(sums[name]).rjust(17) for name in names) for tier, sums in tally.items()
    ]
    return "\n".join(rows)
