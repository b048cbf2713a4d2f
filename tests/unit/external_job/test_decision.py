from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_mlops.external_job.adapter import FoundJob, JobHandle, JobKey, JobState, JobStatus
from airflow_provider_mlops.external_job.decision import Action, Record, may_cancel, start_of_attempt

RUN = datetime(2026, 1, 1, tzinfo=UTC)
KEY = JobKey("n", "d", "r", "t", -1, epoch=2)


def job(number, state, *, generation=0, tries=1, epoch=2, minute=None, **status):
    created = RUN + timedelta(minutes=number if minute is None else minute)
    return FoundJob(
        JobHandle(generation, {"n": number}), JobStatus(JobState(state), **status), tries, epoch, created
    )


def decide(*found, tries=2, **facts):
    facts.setdefault("run_started", RUN)
    return start_of_attempt(KEY, found, try_number=tries, **facts)


@pytest.mark.parametrize("state", ["pending", "running", "blocked"])
def test_an_active_job_is_attached_to(state):
    assert decide(job(1, state)).action is Action.ATTACH


def test_nothing_there_means_submit():
    decision = decide()
    assert (decision.action, decision.generation) == (Action.SUBMIT, 0)


def test_nothing_there_yet_means_look_again():
    assert decide(hidden=True).action is Action.LOOK_AGAIN


def test_a_success_is_collected_whatever_else_is_there():
    decision = decide(job(1, "succeeded"), job(2, "cancelled", generation=0), job(3, "running"))
    assert decision.action is Action.COLLECT
    assert decision.job.handle.ref == {"n": 1}
    assert [each.handle.ref["n"] for each in decision.cancel] == [3]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_bad_end_in_an_earlier_try_raises_the_generation(state):
    decision = decide(job(1, state, generation=3))
    assert (decision.action, decision.generation) == (Action.SUBMIT, 4)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_bad_end_in_this_try_is_reported(state):
    assert decide(job(1, state, tries=2)).action is Action.REPORT


def test_a_permanent_failure_is_reported_again():
    assert decide(job(1, "failed", permanent=True)).action is Action.REPORT


@pytest.mark.parametrize(("able", "action"), [(True, Action.RESTART), (False, Action.SUBMIT)])
def test_a_restartable_failure_is_restarted_where_the_adapter_can(able, action):
    assert decide(job(1, "failed", restartable=True), can_restart=able).action is action


def test_of_several_active_jobs_the_oldest_is_kept():
    decision = decide(job(3, "running"), job(1, "running"), job(2, "pending"))
    assert decision.job.handle.ref == {"n": 1}
    assert sorted(each.handle.ref["n"] for each in decision.cancel) == [2, 3]


def test_age_is_judged_alike_by_everyone_even_at_the_same_instant():
    one, two = job(1, "running", minute=5), job(2, "running", minute=5)
    assert decide(one, two).job is decide(two, one).job


def test_a_later_attempts_job_is_not_cancelled_by_a_leftover():
    assert decide(job(1, "running"), job(2, "running", tries=3), tries=1).cancel == []


def test_active_jobs_of_an_earlier_epoch_are_superseded():
    decision = decide(job(1, "running", epoch=1), job(2, "succeeded", epoch=1))
    assert decision.action is Action.SUBMIT
    assert [each.handle.ref["n"] for each in decision.cancel] == [1]


def test_an_attempt_from_before_a_clear_steps_back_and_takes_its_job_along():
    decision = decide(job(2, "running", epoch=9, tries=3), job(1, "running", tries=1), tries=1)
    assert decision.action is Action.STEP_BACK
    assert [each.handle.ref["n"] for each in decision.cancel] == [1]


def test_jobs_older_than_the_run_are_ignored():
    assert decide(job(1, "succeeded", minute=-10)).action is Action.SUBMIT


def test_a_remote_clock_that_is_slightly_behind_does_not_hide_a_job():
    assert decide(job(1, "running", minute=-0.5)).action is Action.ATTACH


def test_a_known_job_that_vanished_is_lost_and_then_replaced():
    record = Record(KEY.slot, 0, 1, JobHandle(0, {"n": 1}))
    assert decide(record=record, record_lost=True).action is Action.LOST
    replaced = decide(record=replace(record, ended="lost"))
    assert (replaced.action, replaced.generation) == (Action.SUBMIT, 1)


def test_an_intent_without_an_answer_is_looked_for_then_submitted_as_it_was():
    record = Record(KEY.slot, 2, 1)
    assert decide(job(1, "failed", generation=1), record=record, hidden=True).action is Action.LOOK_AGAIN
    decision = decide(job(1, "failed", generation=1), record=record)
    assert (decision.action, decision.generation) == (Action.SUBMIT, 2)


def test_a_record_survives_json():
    record = Record(KEY.slot, 2, 1, JobHandle(2, {"n": 1}, "https://x", 5.0), "failed", {"a": 1}, {"line": 7})
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "restarting", None])
def test_a_kill_cancels_when_nobody_wants_the_job(state):
    assert may_cancel(state)


@pytest.mark.parametrize(
    "state", ["running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule"]
)
def test_a_kill_cancels_nothing_that_goes_on(state):
    assert not may_cancel(state)
