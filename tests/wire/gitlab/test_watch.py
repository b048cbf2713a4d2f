"""Many pipelines are watched by one list."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState
from airflow_provider_mlops.gitlab import pipeline_watch
from airflow_provider_mlops.gitlab.entities import handle_of
from airflow_provider_mlops.gitlab.options import GitlabLogs
from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
from airflow_provider_mlops.gitlab.request import PipelineRequest
from airflow_provider_mlops.testing.gitlab import Gate, GitlabStandIn, Scenario


@pytest.fixture
def many():
    """A project with 30 pipelines that wait at one gate."""
    scenario = Scenario({"train": [Gate("go")]})
    with GitlabStandIn(executor=scenario) as gitlab:
        gitlab.knobs.set(concurrent=40)
        create = gitlab.api.creator.create
        pipelines = [create(gitlab.project, ref="main", source="api", user=gitlab.user) for _ in range(30)]
        yield gitlab, scenario, pipelines


def handle(pipeline) -> JobHandle:
    created = pipeline.created_at.isoformat()
    return handle_of({"id": pipeline.id, "project_id": pipeline.project.id, "created_at": created}, 0)


def test_a_round_costs_two_requests_whatever_the_number(many):
    gitlab, scenario, pipelines = many
    adapter = PipelineAdapter("c", PipelineRequest("mlops/demo", "main"))
    handles = [handle(pipeline) for pipeline in pipelines]
    connections = {"c": ConnectionInfo("c", host=gitlab.url, password=gitlab.token)}

    async def watch() -> None:
        async with adapter.session(connections) as session:
            first = await adapter.statuses(session, handles)
            assert {status.state for status in first.values()} <= {JobState.RUNNING, JobState.PENDING}
            assert len(first) == 30
            asked = len(gitlab.requests)
            for _ in range(5):
                await adapter.statuses(session, handles)
            assert len(gitlab.requests) - asked == 10
            scenario.release("go")
            for pipeline in pipelines:
                await asyncio.to_thread(gitlab.wait, pipeline)
            last = await adapter.statuses(session, handles)
            assert {status.state for status in last.values()} == {JobState.SUCCEEDED}

    asyncio.run(watch())


def test_what_has_been_listed_for_a_minute_is_not_listed_again(many, monkeypatch):
    gitlab, scenario, pipelines = many
    monkeypatch.setattr(pipeline_watch, "_OVERLAP", timedelta(seconds=1))
    adapter = PipelineAdapter("c", PipelineRequest("mlops/demo", "main"))
    handles = [handle(pipeline) for pipeline in pipelines]
    connections = {"c": ConnectionInfo("c", host=gitlab.url, password=gitlab.token)}

    async def watch() -> None:
        async with adapter.session(connections) as session:
            listed = session.watch._client.pipelines
            rows: list[int] = []

            async def counted(**filters: str) -> list[dict[str, object]]:
                found = await listed(**filters)
                rows.append(len(found))
                return found

            session.watch._client.pipelines = counted
            await adapter.statuses(session, handles)
            assert rows == [30]
            # The server tells whole seconds, one round late, and its pipelines may still be starting.
            while rows[-1]:
                assert len(rows) < 12, "listed in every round"
                await asyncio.sleep(1)
                await adapter.statuses(session, handles)
            scenario.release("go")
            for pipeline in pipelines:
                await asyncio.to_thread(gitlab.wait, pipeline)
            last = await adapter.statuses(session, handles)
            assert {status.state for status in last.values()} == {JobState.SUCCEEDED}

    asyncio.run(watch())


@pytest.mark.parametrize(("jobs", "pause"), [("all", timedelta(seconds=15)), ("none", timedelta.max)])
def test_a_session_says_when_the_log_is_worth_another_look(many, jobs, pause):
    gitlab, _, pipelines = many
    adapter = PipelineAdapter("c", PipelineRequest("mlops/demo", "main"), log=GitlabLogs(jobs))
    connections = {"c": ConnectionInfo("c", host=gitlab.url, password=gitlab.token)}

    async def read() -> timedelta | None:
        async with adapter.session(connections) as session:
            return (await session.logs(handle(pipelines[0]), None)).not_before

    assert asyncio.run(read()) == pause


def test_a_deleted_pipeline_and_an_unknown_age_are_noticed(many):
    gitlab, _, pipelines = many
    adapter = PipelineAdapter("c", PipelineRequest("mlops/demo", "main"))
    connections = {"c": ConnectionInfo("c", host=gitlab.url, password=gitlab.token)}
    handles = [JobHandle(0, {"pipeline_id": pipelines[0].id}), JobHandle(0, {"pipeline_id": 9})]

    async def watch() -> None:
        async with adapter.session(connections) as session:
            states = await adapter.statuses(session, handles)
            assert states[0] is not None
            assert states[1] is None

    asyncio.run(watch())


def test_pipelines_of_another_policy_are_another_group():
    from airflow_provider_mlops.gitlab.pipeline_status import Policy

    request = PipelineRequest("mlops/demo", "main")
    groups = {
        PipelineAdapter("c", request).poll_group,
        PipelineAdapter("d", request).poll_group,
        PipelineAdapter("c", PipelineRequest("mlops/other", "main")).poll_group,
        PipelineAdapter("c", request, Policy(on_manual="wait")).poll_group,
    }
    assert len(groups) == 4
