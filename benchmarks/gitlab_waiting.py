"""What it costs one triggerer to wait for many GitLab pipelines, beside one poll per task.

    python benchmarks/gitlab_waiting.py [--pipelines 2000] [--interval 10] [--json FILE]

Every leg is a fresh process in which Airflow's own ``TriggerRunner`` runs the triggers; only its link to the
database is replaced. The legs, one after the other, each against a server of its own (``_recorded_gitlab.py``)
with the same pipelines and the same poll interval:

- ``ours``: the operator's trigger with its shared poller, log streaming off;
- ``ours with logs``: the same with logs on, as is the default: reading a running job's log takes requests of
  its own, which the peer does not make;
- ``peer``: a trigger as the dbt Cloud provider's is built: each task has a loop of its own that asks for its
  pipeline, with an HTTP session per question, and sleeps;
- ``idle``: triggers that only sleep, which is what Airflow's runner costs by itself.

Counted for 20 s in which all triggers wait and nothing ends. Before that, ours have looked for duplicates a
second time (30 s after their start), and the minute is over for which they list a change, here the creation of
all pipelines at once, again. What the start costs is shown apart. Then the pipelines end one after the other
within 10 s, until the last event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent
#: Seconds of waiting that are counted, and then until the last pipeline has ended.
WINDOW = 20.0
ENDING = 10.0
#: Ours look for duplicates once more after 30 s, and list changes again for a minute.
SETTLED = 60.0
LEGS = ("ours", "peer", "ours with logs", "idle")
PROJECT = "bench/search"

# --- one leg, in a process of its own ----------------------------------------------------------------


def trigger_rows(leg: str, url: str, count: int, interval: float) -> tuple[str, list[dict[str, Any]]]:
    """Class path of the leg's trigger, and the arguments of each row."""
    from _recorded_gitlab import FIRST_ID

    if leg != "ours" and leg != "ours with logs":
        name = "PollingTrigger" if leg == "peer" else "SleepingTrigger"
        rows = [{"number": FIRST_ID + index, "poll_interval": interval} for index in range(count)]
        return f"gitlab_waiting.{name}", rows
    from airflow_provider_mlops.external_job.adapter import JobHandle, JobKey
    from airflow_provider_mlops.external_job.attempt import Attempt
    from airflow_provider_mlops.gitlab.options import GitlabLogs
    from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
    from airflow_provider_mlops.gitlab.request import PipelineRequest

    logs = GitlabLogs("none" if leg == "ours" else "all")
    adapter = PipelineAdapter("gitlab_default", PipelineRequest(PROJECT, "main"), log=logs)
    now = datetime.now(UTC)
    rows = []
    for index in range(count):
        key = JobKey("bench", "release", f"run_{index}", "publish", -1, 2)
        ref = {"project_id": 1, "pipeline_id": FIRST_ID + index, "created": int(now.timestamp())}
        rows.append(
            {
                "kind": adapter.kind,
                "adapter": adapter.to_json(),
                "handle": JobHandle(0, ref, f"{url}/{FIRST_ID + index}").to_json(),
                "attempt": Attempt(key, 1, now, now - timedelta(minutes=1)).to_json(),
                "poll_interval": interval,
            }
        )
    return "airflow_provider_mlops.external_job.triggers.ExternalJobTrigger", rows


def _peers() -> dict[str, type]:
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    class SleepingTrigger(BaseTrigger):
        """Waits for nothing."""

        def __init__(self, number: int, poll_interval: float) -> None:
            super().__init__()
            self.number, self.poll_interval = number, poll_interval

        def serialize(self) -> tuple[str, dict[str, Any]]:
            arguments = {"number": self.number, "poll_interval": self.poll_interval}
            return f"gitlab_waiting.{type(self).__name__}", arguments

        async def run(self) -> AsyncIterator[TriggerEvent]:
            await asyncio.sleep(self.poll_interval + WINDOW + ENDING)
            yield TriggerEvent(self.number)

    class PollingTrigger(SleepingTrigger):
        """A loop per task: ask, sleep, ask again."""

        async def run(self) -> AsyncIterator[TriggerEvent]:
            from airflow_provider_mlops.base.hook import aconnection_info

            # Read once; the provider reads it for every question.
            connection = await aconnection_info("gitlab_default")
            url = f"{connection.base_url()}/api/v4/projects/{PROJECT.replace('/', '%2F')}/pipelines/{self.number}"
            while await self._status(url, connection.password) not in ("success", "failed", "canceled"):
                await asyncio.sleep(self.poll_interval)
            yield TriggerEvent(self.number)

        async def _status(self, url: str, token: str | None) -> str:
            import aiohttp
            from yarl import URL

            headers = {"PRIVATE-TOKEN": token or ""}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(URL(url, encoded=True)) as response,
            ):
                response.raise_for_status()
                return str((await response.json())["status"])

    return {"PollingTrigger": PollingTrigger, "SleepingTrigger": SleepingTrigger}


def __getattr__(name: str) -> Any:
    # Airflow is imported in the legs only.
    if name in ("PollingTrigger", "SleepingTrigger"):
        return _peers()[name]
    raise AttributeError(name)


async def wait_for_all(leg: str, url: str, count: int, interval: float) -> dict[str, Any]:
    """Run the leg's triggers in Airflow's runner; its figures."""
    from _recorded_gitlab import FIRST_ID
    from airflow.executors.workloads import RunTrigger
    from airflow.jobs.triggerer_job_runner import TriggerRunner, messages

    path, rows = trigger_rows(leg, url, count, interval)
    pending = [
        RunTrigger(id=FIRST_ID + index, classpath=path, encrypted_kwargs=json.dumps(row))
        for index, row in enumerate(rows)
    ]
    seen: dict[int, float] = {}
    failures: list[Any] = []

    class Runner(TriggerRunner):
        async def init_comms(self) -> None:
            reader = asyncio.create_task(asyncio.sleep(3600))
            self.comms_decoder = SimpleNamespace(_reader_task=reader)

        async def asend(self, msg: Any) -> Any:
            for entry in msg.events or ():
                seen[entry.trigger_id] = time.time()
            failures.extend(msg.failures or ())
            batch = [pending.pop() for _ in range(min(500, len(pending)))]
            return messages.TriggerStateSync(to_create=batch, to_cancel=[])

    runner = Runner()
    memory, cpu = _memory(), time.process_time()
    running = asyncio.create_task(runner.arun())
    while len(runner.triggers) < count:
        await asyncio.sleep(0.2)
    # The first questions are still under way.
    await asyncio.sleep(interval + (SETTLED if leg.startswith("ours") else 0.0))
    figures: dict[str, Any] = {
        "start_cpu": time.process_time() - cpu,
        "memory": _memory() - memory,
    }
    asked, cpu, began = await _requests(url), time.process_time(), time.time()
    await asyncio.sleep(WINDOW)
    figures["cpu"] = (time.process_time() - cpu) / (time.time() - began)
    figures["requests"] = (await _requests(url) - asked) * 60 / (time.time() - began)
    ends = await asyncio.to_thread(_get, f"{url}/begin?first=0&last={ENDING}")
    cpu = time.process_time()
    patience = time.time() + 60
    while len(seen) < count and not failures and time.time() < patience:
        await asyncio.sleep(0.2)
    figures["end_cpu"] = time.process_time() - cpu
    runner.stop = True
    running.cancel()
    if failures or len(seen) < count:
        raise RuntimeError(f"{leg}: {len(seen)} of {count} triggers fired; {failures[:1]}")
    if leg != "idle":
        delays = sorted(seen[FIRST_ID + index] - at for index, at in enumerate(ends))
        figures["delay_median"] = statistics.median(delays)
        figures["delay_p95"] = delays[int(0.95 * count)]
    return figures


async def _requests(url: str) -> int:
    return int(await asyncio.to_thread(_get, f"{url}/requests"))


def _memory() -> float:
    """Resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


# --- all legs ----------------------------------------------------------------------------------------


def run_leg(leg: str, count: int, interval: float) -> dict[str, Any]:
    """One leg: its server, its process, its figures."""
    command = [sys.executable, str(HERE / "_recorded_gitlab.py"), str(count)]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home, "PYTHONPATH": _path()}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                url = f"http://127.0.0.1:{int(server.stdout.readline())}"
                connection = {"conn_type": "gitlab", "host": url, "password": "glpat-bench"}
                environment["AIRFLOW_CONN_GITLAB_DEFAULT"] = json.dumps(connection)
                figures = Path(home) / "figures.json"
                arguments = [leg, url, str(count), str(interval), str(figures)]
                process = subprocess.run(
                    [sys.executable, str(Path(__file__).resolve()), "--leg", *arguments],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    check=False,
                )
                if process.returncode:
                    raise SystemExit(f"{leg} failed:\n{process.stderr[-3000:]}")
                return dict(json.loads(figures.read_text()))
            finally:
                server.kill()


def _path() -> str:
    return os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def report(legs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures for ``--json``: ratios of this run, then what they come from."""
    ours, peer, idle = legs["ours"], legs["peer"], legs["idle"]

    def figure(name: str, value: float, unit: str, goal: str = "") -> dict[str, Any]:
        return {"name": name, "value": round(value, 4), "unit": unit, "goal": goal}

    figures = [
        figure("requests, ours to peer", ours["requests"] / peer["requests"], "ratio", "<= 0.02"),
        figure(
            "CPU beyond Airflow's idle runner, ours to peer",
            max(ours["cpu"] - idle["cpu"], 0.0) / (peer["cpu"] - idle["cpu"]),
            "ratio",
        ),
        figure("CPU of the whole process, ours to peer", ours["cpu"] / peer["cpu"], "ratio", "<= 0.1"),
        figure("CPU of the whole process, idle to peer", idle["cpu"] / peer["cpu"], "ratio"),
        figure("median detection delay, ours to peer", ours["delay_median"] / peer["delay_median"], "ratio"),
        figure("memory, ours to peer", ours["memory"] / peer["memory"], "ratio"),
        figure(
            "requests with logs on, to peer", legs["ours with logs"]["requests"] / peer["requests"], "ratio"
        ),
        figure("CPU with logs on, to peer", legs["ours with logs"]["cpu"] / peer["cpu"], "ratio"),
    ]
    units = {
        "requests": ("requests per minute", "1/min"),
        "cpu": ("CPU share while waiting", "of one core"),
        "start_cpu": ("CPU until all wait", "s"),
        "end_cpu": ("CPU while the pipelines end", "s"),
        "delay_median": ("median detection delay", "s"),
        "delay_p95": ("95th percentile of the detection delay", "s"),
        "memory": ("memory of the triggers", "MiB"),
    }
    for leg, values in legs.items():
        figures += [
            figure(f"{leg}: {label}", values[key], unit)
            for key, (label, unit) in units.items()
            if key in values
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipelines", type=int, default=2000, help="pipelines to wait for (default: 2000)")
    parser.add_argument("--interval", type=float, default=10.0, help="poll interval in seconds (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--leg", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.leg:
        leg, url, count, interval, file = args.leg
        measured = asyncio.run(wait_for_all(leg, url, int(count), float(interval)))
        Path(file).write_text(json.dumps(measured))
        return

    legs = {leg: run_leg(leg, args.pipelines, args.interval) for leg in LEGS}
    figures = report(legs)
    for row in figures:
        goal = f"   goal {row['goal']}" if row["goal"] else ""
        print(f"{row['name']:62} {row['value']:12.4f} {row['unit']}{goal}")
    if args.json:
        args.json.write_text(json.dumps({"benchmark": "gitlab_waiting", "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
