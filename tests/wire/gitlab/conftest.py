"""A GitLab stand-in on a real socket, and operators run against it as Airflow runs them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.compat import TaskDeferred
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from airflow_provider_mlops.gitlab.operators.trigger import GitlabTriggerOperator
from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
from airflow_provider_mlops.testing.gitlab import Artifact, GitlabStandIn, Log, Scenario, ScriptedJob

CONN_ID = "gitlab_default"


class FakeTaskInstance(SimpleNamespace):
    """What the operators use of a task instance; XCom in a dict."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcom.get(key)


@dataclass
class Task:
    """One task of one DAG run: its attempts share nothing but what Airflow keeps."""

    arguments: dict[str, Any]
    task_id: str = "publish"
    store: dict[str, Any] | None = None
    triggers: list[Any] = field(default_factory=list)
    xcoms: list[dict[str, Any]] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(seconds=5))

    def operator(self) -> GitlabTriggerOperator:
        defaults = {"project": "mlops/demo", "poll_interval": 0.3}
        return GitlabTriggerOperator(task_id=self.task_id, **{**defaults, **self.arguments})

    def context(self, try_number: int = 1, max_tries: int = 2) -> Any:
        ti = FakeTaskInstance(
            dag_id="release",
            run_id="manual__1",
            task_id=self.task_id,
            map_index=-1,
            job_id=7,
            try_number=try_number,
            max_tries=max_tries,
            xcom={},
        )
        self.xcoms.append(ti.xcom)
        context = {"ti": ti, "dag_run": SimpleNamespace(start_date=self.started, clear_number=max_tries - 2)}
        if self.store is not None:
            context["task_state_store"] = SimpleNamespace(get=self.store.get, set=self.store.__setitem__)
        return context

    def attempt(self, try_number: int = 1, max_tries: int = 2) -> dict[str, Any]:
        """One attempt to its end; a deferred one through a trigger that was rebuilt from its row."""
        context = self.context(try_number, max_tries)
        operator = self.operator()
        try:
            result = operator.execute(context)
        except TaskDeferred as deferred:
            result = self.resume(deferred, context)
        assert json.loads(json.dumps(result)) == result
        return result

    def resume(self, deferred: TaskDeferred, context: Any) -> Any:
        while True:
            row = json.loads(json.dumps(deferred.trigger.serialize()))
            self.triggers.append(row)
            payload = json.loads(json.dumps(asyncio.run(_first(ExternalJobTrigger(**row[1])))))
            try:
                return self.operator().resume_execution(deferred.method_name, {"event": payload}, context)
            except TaskDeferred as again:
                deferred = again


async def _first(trigger: ExternalJobTrigger) -> Any:
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]


@pytest.fixture
def scenario() -> Scenario:
    """Two stages; the second one leaves an image reference."""
    image = json.dumps({"image": "registry.example.com/demo@sha256:1", "digest": "sha256:1"})
    return Scenario(
        {
            "build": ScriptedJob(([Log("building\n"), Artifact("build.env", "TAG=1.2\n")],), stage="build"),
            "publish": ScriptedJob(([Log("publishing\n"), Artifact("image.json", image)],), stage="publish"),
        }
    )


@pytest.fixture
def gitlab(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitlabStandIn]:
    with GitlabStandIn(executor=scenario) as stand_in:
        connect(monkeypatch, stand_in)
        yield stand_in


def connect(
    monkeypatch: pytest.MonkeyPatch, stand_in: GitlabStandIn, conn_id: str = CONN_ID, **fields: Any
) -> None:
    """Make an Airflow connection to the stand-in."""
    connection = {
        "conn_type": "gitlab",
        "host": stand_in.url,
        "password": stand_in.token,
        "extra": {"trigger_token": stand_in.trigger_token},
        **fields,
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's lists do not lag unless told to, its jobs say no last words, and its bad days are short."""
    monkeypatch.setattr(PipelineAdapter, "settle_time", timedelta(seconds=2))
    monkeypatch.setattr("airflow_provider_mlops.external_job.pacing._LONGEST_BACKOFF", 0.5)
    monkeypatch.setattr("airflow_provider_mlops.gitlab.log_reader._LATE_WORDS", 0.2)
    monkeypatch.setattr("airflow_provider_mlops.gitlab.intervening._PLAY_LAG", 1.0)


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Everything that was written to any log so far."""
    caplog.set_level(logging.DEBUG)
    text: list[str] = []

    def read() -> str:
        captured = capsys.readouterr()
        text.extend((captured.out, captured.err))
        return "\n".join((*text, *_logged(caplog)))

    return read


@pytest.fixture
def task_log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Lines of the task log so far: Airflow 3.3 prints them, older versions (also) log them."""
    caplog.set_level(logging.INFO)
    return lambda: _logged(caplog, "airflow.task") or capsys.readouterr().out.splitlines()


def _logged(caplog: pytest.LogCaptureFixture, logger: str = "") -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith(logger)]
