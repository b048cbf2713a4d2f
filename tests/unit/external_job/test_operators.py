from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_mlops.compat import (
    AIRFLOW_3,
    AIRFLOW_3_3,
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_provider_mlops.errors import (
    DeadlineExceeded,
    ExactlyOnceUnavailable,
    InvalidArgument,
    RemoteUnavailable,
    SubmitUncertain,
)
from airflow_provider_mlops.external_job import operators
from airflow_provider_mlops.external_job.adapter import JobState, Strength
from airflow_provider_mlops.external_job.errors import AttemptEnded, EventMalformed, TriggerBroken
from airflow_provider_mlops.external_job.links import URL_KEY, RemoteJobLink
from airflow_provider_mlops.external_job.operators import NOTE_KEY, ExternalJobOperator
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from tests.unit.external_job.fake_remote import FakeAdapter, ScriptFailed

SECRET = "glpat-very-secret"


class FakeOperator(ExternalJobOperator):
    def __init__(
        self,
        *,
        remote: str,
        conn_id: str | None = None,
        extra: Any = None,
        settle: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id="t", **kwargs)
        self.remote = remote
        self.conn_id = conn_id
        self.extra = extra
        self.settle = settle

    def adapter(self, context):
        return FakeAdapter(self.remote, self.conn_id, self.settle, self.extra)


def deferred(operator, context, call=None):
    with pytest.raises(TaskDeferred) as raised:
        (call or (lambda: operator.execute(context)))()
    return raised.value


def run_trigger(trigger) -> dict[str, Any]:
    async def first():
        return [event async for event in trigger.run()]

    events = asyncio.run(first())
    assert len(events) == 1
    return events[0].payload


def rebuilt(trigger) -> ExternalJobTrigger:
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_mlops.external_job.triggers.ExternalJobTrigger"
    return ExternalJobTrigger(**json.loads(json.dumps(kwargs)))


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_same_payload_waiting_or_deferred(remote, new_context, deferrable):
    remote.script = ["pending", "running", "running", "succeeded"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=deferrable, poll_interval=0.05)
    if deferrable:
        defer = deferred(operator, context)
        event = run_trigger(rebuilt(defer.trigger))
        # Another process goes on: nothing set on the first operator survives.
        answer = FakeOperator(remote=remote.name, deferrable=True).resume_execution(
            "resume", {"event": event}, context
        )
    else:
        answer = operator.execute(context)
    assert answer == {
        "schema": 1,
        "kind": "test.job",
        "state": "succeeded",
        "url": "https://remote.example.com/1",
        "number": 1,
    }
    assert remote.calls.count("submit") == 1
    assert remote.calls.count("open") == remote.calls.count("close")


def test_a_job_that_ends_at_once_is_not_deferred(remote, new_context):
    remote.script = ["succeeded"]
    assert FakeOperator(remote=remote.name, deferrable=True).execute(new_context())["state"] == "succeeded"


def test_link_and_note_are_there_while_the_job_runs(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    deferred(FakeOperator(remote=remote.name, deferrable=True), context)
    assert context["ti"].xcom[URL_KEY] == "https://remote.example.com/1"
    assert context["ti"].xcom[NOTE_KEY]["handle"]["ref"] == {"number": 1}
    assert RemoteJobLink().xcom_key == URL_KEY


def test_not_waiting_returns_after_the_submission(remote, new_context):
    remote.script = ["running"]
    payload = FakeOperator(remote=remote.name, wait_for_completion=False).execute(new_context())
    assert payload["state"] in ("pending", "running")
    assert payload["url"] == "https://remote.example.com/1"


def test_a_retry_goes_on_with_the_job_of_the_try_before(remote, new_context):
    remote.script = ["running"]
    deferred(FakeOperator(remote=remote.name, deferrable=True), new_context(try_number=1))
    remote.jobs[0].script = ["running", "succeeded"]
    payload = FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context(try_number=2))
    assert payload["number"] == 1
    assert len(remote.jobs) == 1


def test_a_cleared_task_runs_anew_and_cancels_what_is_left(remote, new_context):
    remote.script = ["running"]
    deferred(FakeOperator(remote=remote.name, deferrable=True), new_context(try_number=1, max_tries=2))
    remote.script = ["succeeded"]
    payload = FakeOperator(remote=remote.name).execute(new_context(try_number=2, max_tries=3))
    assert payload["number"] == 2
    assert remote.jobs[0].cancelled


def test_a_failure_is_the_adapters_error_and_ends_the_retries_where_permanent(remote, new_context):
    remote.script = ["failed"]
    with pytest.raises(ScriptFailed) as raised:
        FakeOperator(remote=remote.name).execute(new_context())
    assert isinstance(raised.value, AirflowFailException)


def test_a_deferred_failure_ends_the_retries_too(remote, new_context):
    remote.script = ["running", "running", "failed"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True, poll_interval=0.05)
    event = run_trigger(deferred(operator, context).trigger)
    with pytest.raises(ScriptFailed) as raised:
        operator.resume_execution("resume", {"event": event}, context)
    assert isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize("strength", [Strength.WEAK, Strength.NONE])
def test_required_exactly_once_is_refused_before_any_effect(remote, new_context, strength):
    remote.strength = strength
    with pytest.raises(ExactlyOnceUnavailable):
        FakeOperator(remote=remote.name, exactly_once="required").execute(new_context())
    assert remote.jobs == []
    assert "submit" not in remote.calls


@pytest.mark.parametrize(
    "arguments",
    [
        {"exactly_once": "always"},
        {"timeout": 0},
        {"poll_interval": -1.0},
        {"extra": object()},
        {"extra": (1, 2)},
    ],
)
def test_bad_arguments_are_refused_before_any_effect(remote, new_context, arguments):
    with pytest.raises(InvalidArgument):
        FakeOperator(remote=remote.name, **arguments).execute(new_context())
    assert remote.calls == []


@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_deadline_ends_the_job_waiting_or_deferred(remote, new_context, deferrable, cancel):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(
        remote=remote.name, deferrable=deferrable, timeout=0.4, poll_interval=0.05, cancel_on_timeout=cancel
    )
    if deferrable:
        defer = deferred(operator, context)
        assert defer.timeout > timedelta(seconds=60)
        event = run_trigger(rebuilt(defer.trigger))
        assert event["status"] == "deadline"
        with pytest.raises(DeadlineExceeded):
            operator.resume_execution("resume", {"event": event}, context)
    else:
        with pytest.raises(DeadlineExceeded):
            operator.execute(context)
    assert remote.jobs[0].cancelled is cancel


def test_a_job_that_ends_right_at_the_deadline_counts(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True, timeout=0.2, poll_interval=0.05)
    event = run_trigger(deferred(operator, context).trigger)
    remote.jobs[0].script = ["succeeded"]
    assert operator.resume_execution("resume", {"event": event}, context)["state"] == "succeeded"


def test_execution_timeout_limits_the_job_while_deferred(remote, new_context):
    remote.script = ["running"]
    operator = FakeOperator(
        remote=remote.name, deferrable=True, execution_timeout=timedelta(hours=1), timeout=timedelta(hours=2)
    )
    deadline = deferred(operator, new_context()).trigger.handle["deadline"]
    assert deadline - time.time() == pytest.approx(3600, abs=30)


def test_a_crashed_trigger_is_replaced_and_its_job_kept(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True)
    first = deferred(operator, context)
    again = deferred(
        operator,
        context,
        lambda: operator.resume_execution(
            "__fail__", {"error": "Trigger failure", "traceback": ["boom"]}, context
        ),
    )
    assert again.trigger.handle == first.trigger.handle
    assert not remote.jobs[0].cancelled


def test_a_trigger_that_crashes_again_and_again_fails_the_attempt_not_the_job(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True)
    deferred(operator, context)
    fail = lambda: operator.resume_execution("__fail__", {"error": "Trigger failure"}, context)  # noqa: E731
    for _ in range(3):
        deferred(operator, context, fail)
    with pytest.raises(TriggerBroken):
        fail()
    assert not remote.jobs[0].cancelled


def test_the_backstop_timeout_of_airflow_ends_the_job(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True, timeout=0.01)
    with pytest.raises((TaskDeferred, DeadlineExceeded)):
        operator.execute(context)
    time.sleep(0.02)
    with pytest.raises(DeadlineExceeded):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
    assert remote.jobs[0].cancelled


def test_a_trigger_failure_without_a_known_job_is_airflows_own(remote, new_context):
    with pytest.raises(Exception, match="Trigger timeout"):
        FakeOperator(remote=remote.name, deferrable=True).resume_execution(
            "__fail__", {"error": "Trigger timeout"}, new_context()
        )


@pytest.mark.parametrize("event", [None, {}, {"status": "fine"}, {"status": "ended"}, "ended"])
def test_an_event_that_is_not_understood_fails_loudly(remote, new_context, event):
    context = new_context()
    with pytest.raises(EventMalformed):
        FakeOperator(remote=remote.name, deferrable=True).resume_execution(
            "resume", {"event": event}, context
        )


def test_one_trigger_run_twice_at_once_gives_the_same_answer(remote, new_context):
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, deferrable=True, poll_interval=0.05)
    trigger = deferred(operator, context).trigger
    remote.jobs[0].script = ["running"] * 4 + ["succeeded"]

    async def both():
        async def one(copy):
            return [event.payload async for event in copy.run()]

        return await asyncio.gather(one(rebuilt(trigger)), one(rebuilt(trigger)))

    assert [[event["status"] for event in events] for events in asyncio.run(both())] == [["ended"], ["ended"]]
    assert len(remote.jobs) == 1


def test_a_transport_error_is_waited_out(remote, new_context, monkeypatch):
    monkeypatch.setattr("airflow_provider_mlops.external_job.pacing._SOONEST", 0.01)
    remote.errors = {name: [RemoteUnavailable("503")] for name in ("find", "submit", "status", "result")}
    assert FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context())["state"] == "succeeded"
    assert len(remote.jobs) == 1


def test_a_lost_answer_is_looked_up_before_anything_is_submitted_again(remote, new_context):
    remote.errors = {"submit": [SubmitUncertain("answer lost")]}
    payload = FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context())
    assert payload["number"] == 1
    assert remote.calls[:4] == ["open", "find", "submit", "find"]


def test_secrets_enter_neither_trigger_rows_nor_xcom_nor_rendered_fields(remote, new_context, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_REMOTE", json.dumps({"conn_type": "http", "host": "h", "password": SECRET})
    )
    remote.script = ["running"]
    store: dict[str, Any] = {}
    context = new_context(store=store)
    operator = FakeOperator(remote=remote.name, conn_id="remote", deferrable=True)
    defer = deferred(operator, context)
    assert remote.passwords == [SECRET]
    kept = json.dumps([defer.trigger.serialize(), context["ti"].xcom, store, vars(defer)], default=str)
    assert SECRET not in kept
    remote.jobs[0].script = ["succeeded"]
    event = run_trigger(rebuilt(defer.trigger))
    assert SECRET not in json.dumps(event)
    assert remote.passwords[-1] == SECRET


@pytest.mark.skipif(not AIRFLOW_3_3, reason="the task state store is new in 3.3")
def test_a_persisted_result_is_returned_without_asking_the_remote(remote, new_context):
    store: dict[str, Any] = {}
    operator = FakeOperator(remote=remote.name, poll_interval=0.05)
    first = operator.execute(new_context(try_number=1, store=store))
    remote.calls.clear()
    again = FakeOperator(remote=remote.name).execute(new_context(try_number=2, store=store))
    assert again == first
    assert remote.calls == ["open", "close"]


@pytest.mark.skipif(not AIRFLOW_3_3, reason="the task state store is new in 3.3")
def test_state_that_survived_a_clear_is_ignored(remote, new_context):
    store: dict[str, Any] = {}
    FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context(try_number=1, store=store))
    payload = FakeOperator(remote=remote.name, poll_interval=0.05).execute(
        new_context(try_number=2, max_tries=3, store=store)
    )
    assert payload["number"] == 2


@pytest.mark.skipif(AIRFLOW_3_3, reason="before 3.3 there is no task state store")
def test_nothing_is_stored_before_3_3(remote, new_context):
    store: dict[str, Any] = {}
    FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context(store=store))
    assert store == {}


# --- on_kill ---------------------------------------------------------------------------------------


def killed_while_waiting(remote, context, monkeypatch, state, **arguments):
    """Run the operator and have on_kill called from a signal while it waits, as Airflow does."""
    import signal

    asked: list[str] = []

    def task_state(*args):
        asked.append("state")
        if isinstance(state, Exception):
            raise state
        return state

    monkeypatch.setattr(operators, "task_state", task_state)
    remote.script = ["running"]
    operator = FakeOperator(remote=remote.name, poll_interval=0.05, **arguments)

    class Terminated(BaseException):
        pass

    def handler(signum, frame):
        operator.on_kill()
        raise Terminated

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        began = time.monotonic()
        with pytest.raises(AttemptEnded if AIRFLOW_3 else Terminated):
            operator.execute(context)
        assert time.monotonic() - began < 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return asked


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "restarting", None])
def test_a_kill_by_a_person_cancels_the_job(remote, new_context, monkeypatch, state):
    killed_while_waiting(remote, new_context(), monkeypatch, state)
    assert remote.jobs[0].cancelled


@pytest.mark.parametrize(
    "state", ["running", "deferred", "queued", "scheduled", "up_for_retry", RuntimeError("no answer")]
)
def test_any_other_kill_leaves_the_job_to_the_next_attempt(remote, new_context, monkeypatch, state):
    asked = killed_while_waiting(remote, new_context(), monkeypatch, state)
    assert asked == ["state"]
    assert not remote.jobs[0].cancelled


def test_a_kill_leaves_the_job_where_asked_to(remote, new_context, monkeypatch):
    assert killed_while_waiting(remote, new_context(), monkeypatch, "failed", cancel_on_kill=False) == []
    assert not remote.jobs[0].cancelled


@pytest.mark.skipif(not AIRFLOW_3, reason="2.11 has no supervisor channel")
def test_a_kill_during_a_call_to_airflow_waits_for_its_end(remote, new_context, monkeypatch):
    order: list[str] = []
    monkeypatch.setattr(operators, "task_state", lambda *args: order.append("asked") or "failed")
    remote.script = ["running"]
    context = new_context()
    operator = FakeOperator(remote=remote.name, poll_interval=0.05)

    def push(key, value):
        order.append("call begins")
        operator.on_kill()
        order.append("call ends")

    context["ti"].xcom_push = push
    with pytest.raises(AttemptEnded):
        operator.execute(context)
    # The note and the link are pushed within one bracket.
    assert order == ["call begins", "call ends", "call begins", "call ends", "asked"]
    assert remote.jobs[0].cancelled


def test_a_timeout_in_the_worker_cancels_the_job(remote, new_context, monkeypatch):
    import signal

    monkeypatch.setattr(operators, "task_state", lambda *args: pytest.fail("no question is needed"))
    remote.script = ["running"]
    operator = FakeOperator(remote=remote.name, poll_interval=0.05)

    def alarm(signum, frame):
        raise AirflowTaskTimeout

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        try:
            operator.execute(new_context())
        except AirflowTaskTimeout:
            operator.on_kill()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert remote.jobs[0].cancelled


def test_a_timeout_in_a_fresh_process_finds_the_job_through_xcom(remote, new_context, monkeypatch):
    remote.script = ["running"]
    context = new_context()
    deferred(FakeOperator(remote=remote.name, deferrable=True), context)
    monkeypatch.setattr(operators, "get_current_context", lambda: context)
    fresh = FakeOperator(remote=remote.name, deferrable=True)
    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        fresh.on_kill()
    assert remote.jobs[0].cancelled


def test_after_its_work_the_operator_asks_airflow_nothing_in_a_kill(remote, new_context, monkeypatch):
    monkeypatch.setattr(operators, "task_state", lambda *args: pytest.fail("asked"))
    monkeypatch.setattr(operators, "get_current_context", lambda: new_context())
    operator = FakeOperator(remote=remote.name, poll_interval=0.05)
    operator.execute(new_context())
    if AIRFLOW_3:
        with pytest.raises(AttemptEnded):
            operator.on_kill()
    else:
        operator.on_kill()
    assert not remote.jobs[0].cancelled


def test_the_default_payload_says_what_it_is(remote, new_context):
    assert JobState(FakeOperator(remote=remote.name, poll_interval=0.05).execute(new_context())["state"])
