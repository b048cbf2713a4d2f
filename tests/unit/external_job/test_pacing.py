from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_mlops.errors import RateLimited, RemoteUnavailable, WaitingFailed
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState, JobStatus, LogBatch
from airflow_provider_mlops.external_job.engine import Engine, Outcome
from airflow_provider_mlops.external_job.pacing import Pace, Pacer, deadline_of, until


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def drive(coroutine):
    """Run a coroutine that never really waits."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


class Scripted:
    """A session whose status answers are given; the last one stays."""

    def __init__(self, answers, lines=()) -> None:
        self.answers, self.lines, self.asked, self.broken = list(answers), list(lines), 0, 0

    async def status(self, handle):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return JobStatus(JobState(answer)) if isinstance(answer, str) else answer

    async def logs(self, handle, cursor):
        start = cursor or 0
        if start == 2 and not self.broken:
            self.broken = 1
            raise RemoteUnavailable("log lost")
        end = min(start + 2, len(self.lines))
        return LogBatch(self.lines[start:end], end, end < len(self.lines))


HANDLE = JobHandle(0, {"n": 1})


def wait(answers, handle=HANDLE, lines=(), **arguments):
    clock = FakeClock()
    written: list[str] = []
    session = Scripted(answers, lines)
    pace = Pace(timedelta(seconds=15), timedelta(minutes=10), timedelta(minutes=5))
    engine = Engine(session, "job", clock, pace, line=written.append, random=lambda: 0.5)
    return drive(engine.wait(None, handle, **arguments)), clock, session, written


def test_a_young_job_is_asked_for_soon_and_an_old_one_at_the_interval():
    waited, clock, _, _ = wait(["running"] * 60 + ["succeeded"])
    assert waited.outcome is Outcome.ENDED
    assert clock.slept[0] == 1.0
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == 15.0


def test_waits_are_spread_by_jitter():
    waits = [
        Pacer(Pace(), lambda: 0.0, lambda share=share: share).after_answer(1000.0)
        for share in (0.0, 0.5, 0.999)
    ]
    assert waits[0] == pytest.approx(12.75)
    assert waits[1] == 15.0
    assert waits[2] == pytest.approx(17.25, abs=0.01)


def test_errors_are_borne_for_the_budget_and_not_longer():
    with pytest.raises(WaitingFailed) as raised:
        wait([RemoteUnavailable("503")])
    assert "600 s" in str(raised.value)
    assert isinstance(raised.value.__cause__, RemoteUnavailable)


def test_one_answer_renews_the_budget():
    flapping = [answer for _ in range(200) for answer in (RemoteUnavailable("503"), "running")]
    waited, clock, _, _ = wait([*flapping, "succeeded"])
    assert waited.outcome is Outcome.ENDED
    assert sum(clock.slept) > 600


def test_retry_after_is_obeyed_never_earlier():
    _, clock, _, _ = wait([RateLimited("429", delay=timedelta(seconds=100)), "succeeded"])
    assert 100 <= clock.slept[0] <= 115


def test_retry_after_is_obeyed_up_to_the_cap():
    _, clock, _, _ = wait([RateLimited("429", delay=timedelta(days=1)), "succeeded"])
    assert 300 <= clock.slept[0] <= 345


def test_asking_too_soon_is_avoided_where_the_remote_says_so():
    _, clock, _, _ = wait([JobStatus(JobState.RUNNING, not_before=timedelta(seconds=90)), "succeeded"])
    assert clock.slept == [90.0]


def test_the_deadline_is_met_to_the_second():
    waited, clock, _, _ = wait(["running"], JobHandle(0, {"n": 1}, deadline=1047.0))
    assert waited.outcome is Outcome.DEADLINE
    assert clock.time == 1047.0


def test_the_deadline_counts_while_the_remote_is_away():
    waited, clock, _, _ = wait([RemoteUnavailable("503")], JobHandle(0, {"n": 1}, deadline=1047.0))
    assert waited.outcome is Outcome.DEADLINE
    assert clock.time == 1047.0


def test_a_single_empty_answer_is_not_yet_a_loss():
    assert wait([None, "succeeded"])[0].outcome is Outcome.ENDED
    assert wait([None, None, None])[0].outcome is Outcome.LOST


def test_every_log_line_is_written_once_in_order_even_if_the_log_fails_in_the_middle():
    lines = [f"line {number}" for number in range(9)]
    waited, _, _, written = wait(["running", "running", "succeeded"], lines=lines)
    assert written == lines
    assert waited.cursor == 9


def test_a_known_state_is_not_asked_for_again():
    _, _, session, _ = wait(["running"], status=JobStatus(JobState.SUCCEEDED))
    assert session.asked == 0


def test_deadlines():
    assert deadline_of(10.0, None) is None
    assert deadline_of(10.0, timedelta(minutes=1)) == 70.0
    assert until(None, 5.0) == float("inf")
    assert until(3.0, 5.0) == 0.0
