"""Job logs read piece by piece while they grow, move and end: every line once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import CredentialsRejected
from airflow_provider_mlops.gitlab import log_reader
from airflow_provider_mlops.gitlab.access import GitlabAccess
from airflow_provider_mlops.gitlab.client import open_client
from airflow_provider_mlops.gitlab.downstream import Downstream
from airflow_provider_mlops.gitlab.log_reader import LogReader
from airflow_provider_mlops.gitlab.options import GitlabLogs
from airflow_provider_mlops.testing.gitlab import (
    Fail,
    Gate,
    GitlabStandIn,
    Knobs,
    LateLog,
    Log,
    RawLog,
    Scenario,
    ScriptedJob,
    ShiftLog,
)


def start(gitlab: GitlabStandIn) -> int:
    creator = gitlab.api.creator
    return creator.create(gitlab.project, ref="main", source="api", user=gitlab.user).id


def read(
    gitlab: GitlabStandIn,
    pipeline_id: int,
    *,
    policy: GitlabLogs | None = None,
    between: Callable[[int], Any] = lambda rounds: None,
    rounds: int = 1,
    new_reader: bool = False,
) -> list[str]:
    """Read in several rounds, then to the end once the pipeline is over.

    :param between: called before each round, with its number.
    :param new_reader: each round is another process, which knows the JSON cursor only.
    """
    access = GitlabAccess.from_connection(ConnectionInfo("c", host=gitlab.url, password=gitlab.token))
    chosen = policy or GitlabLogs(interval=0.0)

    async def all_rounds() -> list[str]:
        lines: list[str] = []
        cursor: Any = None
        async with open_client(access, "mlops/demo") as client:
            reader = LogReader(client, chosen, Downstream(3, 50))
            for number in range(rounds + 1):
                if number == rounds:
                    await asyncio.to_thread(gitlab.wait, pipeline_id)
                else:
                    await asyncio.to_thread(between, number)
                reader._listed.clear()
                if new_reader:
                    reader = LogReader(client, chosen, Downstream(3, 50))
                more = True
                while more:
                    batch = await reader.read(pipeline_id, cursor, over=number == rounds)
                    lines += batch.lines
                    cursor, more = json.loads(json.dumps(batch.cursor)), batch.more
        return lines

    return asyncio.run(all_rounds())


STEPS = [f"line {number} with an € and an é" for number in range(40)]
SHOWN = [f"[test/train] {text}" for text in STEPS]


def growing() -> Scenario:
    steps: list[Any] = []
    for number, text in enumerate(STEPS):
        steps += [Log(text + "\n"), Gate(str(number))]
    return Scenario({"train": steps})


@pytest.mark.parametrize("new_reader", [False, True], ids=["one reader", "a reader each time"])
@pytest.mark.parametrize("windows", [True, False], ids=["windows", "whole logs"])
@pytest.mark.parametrize("timestamps", [True, False], ids=["stamped", "plain"])
def test_a_growing_log_is_shown_line_by_line(timestamps, windows, new_reader):
    scenario = growing()
    knobs = Knobs(trace_timestamps=timestamps, trace_windows=windows)

    def step(number: int) -> None:
        for gate in range(number * 7, min(number * 7 + 7, len(STEPS))):
            scenario.wait_reached(str(gate))
            scenario.release(str(gate))

    with GitlabStandIn(executor=scenario, knobs=knobs) as gitlab:
        assert read(gitlab, start(gitlab), between=step, rounds=7, new_reader=new_reader) == SHOWN


@pytest.mark.parametrize("windows", [True, False], ids=["windows", "whole logs"])
@pytest.mark.parametrize("shift", [30, -30, 200])
def test_a_log_that_moves_when_it_is_archived_loses_and_repeats_nothing(windows, shift):
    first = [Log("".join(f"{text}\n" for text in STEPS)), Gate("go"), Log("the end\n"), ShiftLog(shift)]
    scenario = Scenario({"train": first})
    with GitlabStandIn(executor=scenario, knobs=Knobs(trace_windows=windows)) as gitlab:

        def go(number: int) -> None:
            if number == 0:
                scenario.wait_reached("go")
            else:
                scenario.release("go")

        assert read(gitlab, start(gitlab), between=go, rounds=2) == [*SHOWN, "[test/train] the end"]


def test_a_line_and_a_character_may_arrive_in_parts(monkeypatch):
    euro = "€".encode()
    steps = [RawLog(b"5 " + euro[:1]), Gate("a"), RawLog(euro[1:] + b" and"), Gate("b"), RawLog(b" more\n")]
    scenario = Scenario({"train": steps})
    with GitlabStandIn(executor=scenario) as gitlab:

        def go(number: int) -> None:
            if number:
                scenario.release("ab"[number - 1])
            if number < 2:
                scenario.wait_reached("ab"[number])

        assert read(gitlab, start(gitlab), between=go, rounds=3) == ["[test/train] 5 € and more"]


def test_a_long_log_is_read_in_windows(monkeypatch):
    monkeypatch.setattr(log_reader, "LOG_WINDOW", 1000)
    texts = [f"{number} " + "€" * 30 for number in range(300)]
    jobs = {"train": [Log("".join(text + "\n" for text in texts))], "other": [Log("x" * 5000 + "\n")]}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        lines = read(gitlab, start(gitlab))
    assert [line for line in lines if "train" in line] == [f"[test/train] {text}" for text in texts]
    long = [line.removeprefix("[test/other] ") for line in lines if "other" in line]
    assert "".join(long).count("x") == 5000


def test_a_log_is_bounded_and_says_where_the_rest_is(monkeypatch):
    monkeypatch.setattr(log_reader, "LOG_WINDOW", 1000)
    jobs = {"train": [Log("".join(f"{number:06}\n" for number in range(1000)))]}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        lines = read(gitlab, start(gitlab), policy=GitlabLogs(max_bytes=3000))
        assert gitlab.requests.count("GET", "/trace") < 6
    assert len(lines) < 110
    assert "/jobs/" in lines[-1]


def test_words_after_the_end_are_shown(monkeypatch):
    monkeypatch.setattr(log_reader, "_LATE_WORDS", 0.5)
    scenario = Scenario({"train": [Log("first\n"), LateLog("Job succeeded\n", 0.2)]})
    with GitlabStandIn(executor=scenario) as gitlab:
        lines = read(gitlab, start(gitlab), rounds=0)
    assert lines == ["[test/train] first", "[test/train] Job succeeded"]


def test_jobs_are_chosen_by_name_or_outcome():
    jobs = {
        "a": [Log("from a\n")],
        "b": ScriptedJob(([Log("from b\n"), Fail()],), keywords={"allow_failure": True}),
    }
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        pipeline = start(gitlab)
        assert read(gitlab, pipeline, policy=GitlabLogs(["a"])) == ["[test/a] from a"]
        assert read(gitlab, pipeline, policy=GitlabLogs("failed")) == ["[test/b] from b"]
        asked = len(gitlab.requests)
        assert read(gitlab, pipeline, policy=GitlabLogs("none")) == []
        assert len(gitlab.requests) == asked


def test_both_runs_of_a_retried_job_are_shown():
    attempts = ([Log("first run\n"), Fail("runner_system_failure")], [Log("second run\n")])
    jobs = {"train": ScriptedJob(attempts, keywords={"retry": 1})}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        lines = read(gitlab, start(gitlab))
    assert lines == ["[test/train] first run", "[test/train] second run"]


def test_a_quiet_log_is_not_asked_for_more_often_than_it_can_change():
    scenario = Scenario({"train": [Log("x\n"), Gate("go")]})
    with GitlabStandIn(executor=scenario) as gitlab:
        pipeline = start(gitlab)
        scenario.wait_reached("go")
        threading.Timer(0.5, scenario.release, ("go",)).start()
        read(gitlab, pipeline, policy=GitlabLogs(interval=60.0), rounds=5)
        assert gitlab.requests.count("GET", "/trace") <= 4


def test_a_token_that_expires_while_a_log_is_read_loses_no_line():
    with GitlabStandIn(executor=Scenario({"train": [Log("one\n"), Log("two\n")]})) as gitlab:
        pipeline = start(gitlab)
        gitlab.wait(pipeline)
        gitlab.faults.unauthorized(path="/trace")
        with pytest.raises(CredentialsRejected):
            read(gitlab, pipeline)
        assert read(gitlab, pipeline) == ["[test/train] one", "[test/train] two"]


def _wait_for_success(gitlab: GitlabStandIn, pipeline_id: int, job: str) -> None:
    found = gitlab.project.pipelines[pipeline_id].job(job)
    with gitlab.store.changed:
        assert gitlab.store.changed.wait_for(lambda: found.status == "success", 10)


def test_a_list_of_jobs_from_between_two_stages_does_not_do_for_the_end():
    jobs = {
        "build": ScriptedJob(([Log("built\n")],), stage="build"),
        "train": ScriptedJob(([Gate("go"), Log("trained\n")],), stage="train"),
    }
    scenario = Scenario(jobs)
    with GitlabStandIn(executor=scenario, knobs=Knobs(pending_for=0.3)) as gitlab:
        pipeline = start(gitlab)
        access = GitlabAccess.from_connection(ConnectionInfo("c", host=gitlab.url, password=gitlab.token))

        async def twice() -> list[str]:
            async with open_client(access, "mlops/demo") as client:
                # No time passes between the two looks.
                reader = LogReader(client, GitlabLogs(interval=0.0), Downstream(0, 1), now=lambda: 0.0)
                await asyncio.to_thread(_wait_for_success, gitlab, pipeline, "build")
                first = await reader.read(pipeline, None)
                scenario.release("go")
                await asyncio.to_thread(gitlab.wait, pipeline)
                last = await reader.read(pipeline, first.cursor, over=True)
                return [*first.lines, *last.lines]

        assert asyncio.run(twice()) == ["[build/build] built", "[train/train] trained"]
