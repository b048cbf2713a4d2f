"""An event for each pipeline that comes to an end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3, AIRFLOW_3_3
from airflow_provider_mlops.gitlab.hook import GitlabHook
from airflow_provider_mlops.testing.gitlab import Fail, GitlabStandIn, Log, Scenario, ScriptedJob
from airflow_provider_mlops.triggers import GitlabPipelineEventTrigger
from tests.wire.gitlab.conftest import connect

pytestmark = pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers")
LISTING = r"/pipelines\?"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlops.gitlab.triggers._AFTER_FAILURE", 0.2)


def trigger(**arguments: Any) -> GitlabPipelineEventTrigger:
    made = GitlabPipelineEventTrigger(**{"project": "mlops/demo", "poll_interval": 0.2, **arguments})
    _, kwargs = json.loads(json.dumps(made.serialize()))
    return GitlabPipelineEventTrigger(**kwargs)


def start(ref: str = "main") -> int:
    return int(GitlabHook().client.projects.get("mlops/demo").pipelines.create({"ref": ref}).id)


async def collect(
    stream: AsyncIterator[Any], events: list[Any], enough: Callable[[], bool] = lambda: False
) -> None:
    async with aclosing(stream) as source:  # type: ignore[type-var]
        async for event in source:
            events.append(event.payload)
            if enough():
                return


async def watch_while(
    made: GitlabPipelineEventTrigger, do: Callable[[], Any], count: int, events: list[Any] | None = None
) -> list[Any]:
    """Events of a running watcher; something is done once it watches."""
    events = [] if events is None else events
    task = asyncio.create_task(collect(made.run(), events, lambda: len(events) >= count))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(do)
    await asyncio.wait_for(task, 30)
    return events


def test_each_pipeline_that_ends_is_one_event(gitlab):
    earlier = start()
    gitlab.wait(earlier, "success")
    started: list[int] = []
    events = asyncio.run(watch_while(trigger(), lambda: started.extend((start(), start())), 2))
    assert sorted(event["pipeline_id"] for event in events) == started
    pipeline = gitlab.pipelines()[-1]
    event = next(event for event in events if event["pipeline_id"] == pipeline.id)
    assert (event["status"], event["ref"], event["sha"]) == ("success", "main", pipeline.sha)
    assert event["url"].endswith(f"/pipelines/{pipeline.id}")


def test_filters_choose(gitlab):
    gitlab.project.repository.git("branch", "release/1", "main")

    def both() -> None:
        start()
        start("release/1")

    (event,) = asyncio.run(watch_while(trigger(ref="release/*", source="api"), both, 1))
    assert event["ref"] == "release/1"


def test_a_retry_in_gitlab_is_a_second_event(monkeypatch):
    jobs = {"train": ScriptedJob(([Fail()], [Log("better\n")]))}
    with GitlabStandIn(executor=Scenario(jobs)) as gitlab:
        connect(monkeypatch, gitlab)

        events: list[Any] = []

        def fail_and_retry() -> None:
            number = start()
            while not events:
                time.sleep(0.05)
            GitlabHook().client.projects.get("mlops/demo").pipelines.get(number).retry()

        asyncio.run(watch_while(trigger(statuses=["success", "failed"]), fail_and_retry, 2, events))
    assert [event["status"] for event in events] == ["failed", "success"]


def test_bad_days_lose_nothing(gitlab, monkeypatch, written):
    gitlab.faults.status(502, path=LISTING, times=2)
    gitlab.faults.reset(path=LISTING, times=1)
    gitlab.faults.unauthorized(path=LISTING, times=1, skip=3)
    gitlab.faults.rate_limit(path=LISTING, retry_after=0.3)
    numbers: list[int] = []
    events = asyncio.run(watch_while(trigger(), lambda: numbers.append(start()), 1))
    assert [event["pipeline_id"] for event in events] == numbers
    assert gitlab.token not in written()
    assert gitlab.token not in json.dumps([events, trigger().serialize()])


class Store:
    """An asset's state, as Airflow 3.3 gives it."""

    def __init__(self, several: bool = False) -> None:
        self.kept: dict[str, Any] = {}
        self.several = several

    async def aget(self, key: str) -> Any:
        if self.several:
            raise ValueError("Task has 2 concrete inlets and outlets")
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = json.loads(json.dumps(value))


def with_store(store: Store, **arguments: Any) -> GitlabPipelineEventTrigger:
    made = trigger(**arguments)
    made.asset_state_store = store
    return made


def test_a_watcher_that_starts_again_goes_on_where_it_was(gitlab):
    store, first = Store(), []

    async def until_noted() -> int:
        task = asyncio.create_task(collect(with_store(store).run(), first))
        await asyncio.sleep(0.5)
        number = await asyncio.to_thread(start)
        while [number, "success"] not in [row[:2] for note in store.kept.values() for row in note["seen"]]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return number

    number = asyncio.run(asyncio.wait_for(until_noted(), 30))
    assert [event["pipeline_id"] for event in first] == [number]
    missed = start()
    gitlab.wait(missed, "success")
    events = asyncio.run(watch_while(with_store(store), lambda: None, 1))
    assert [event["pipeline_id"] for event in events] == [missed]


def test_a_trigger_of_several_assets_keeps_nothing_and_works(gitlab):
    events = asyncio.run(watch_while(with_store(Store(several=True)), start, 1))
    assert len(events) == 1


def test_look_back_bridges_a_restart_where_nothing_is_kept(gitlab):
    number = start()
    gitlab.wait(number, "success")
    events = asyncio.run(watch_while(trigger(look_back=600), lambda: None, 1))
    assert [event["pipeline_id"] for event in events] == [number]


@pytest.mark.skipif(not AIRFLOW_3_3, reason="watchers share from Airflow 3.3 on")
def test_many_watchers_of_a_project_ask_one_question_per_interval(gitlab):
    from airflow.triggers.shared_stream import SharedStreamManager

    async def run() -> list[list[Any]]:
        manager = SharedStreamManager()
        told: list[list[Any]] = [[] for _ in range(20)]
        refs = ["main", None, "none"]
        async with AsyncExitStack() as stack:
            stack.push_async_callback(manager.stop_all)
            tasks = []
            for number, events in enumerate(told):
                made = trigger(ref=refs[number % 3], poll_interval=0.5)
                key = made.shared_stream_key()
                shared = manager.subscribe(trigger_id=number, trigger=made, key=key)
                tasks.append(asyncio.create_task(collect(made.filter_shared_stream(shared), events)))
            await asyncio.sleep(0.7)
            await asyncio.to_thread(start)
            await asyncio.sleep(2.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return told

    told = asyncio.run(run())
    assert [len(events) for events in told] == [0 if number % 3 == 2 else 1 for number in range(20)]
    assert gitlab.requests.count("GET", LISTING) <= 9
