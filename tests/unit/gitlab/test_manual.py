"""Which manual jobs are to be started, decided from what GitLab shows."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.gitlab.manual import plan_manual
from airflow_provider_mlops.gitlab.pipeline_status import PlayedJob

NAMED = [PlayedJob("deploy", {"A": "1"})]


def job(number: int, status: str, *, optional: bool = False) -> dict[str, Any]:
    return {"id": number, "status": status, "allow_failure": optional}


def test_a_named_manual_job_is_started() -> None:
    plan = plan_manual(NAMED, {"deploy": job(7, "manual"), "other": job(8, "manual")})
    assert plan.start == {7: NAMED[0]}
    assert plan.waiting == ["deploy", "other"]


@pytest.mark.parametrize("status", ["pending", "running", "preparing", "a_word_of_gitlab_25"])
def test_a_job_that_was_started_is_busy_and_not_started_again(status: str) -> None:
    plan = plan_manual(NAMED, {"deploy": job(7, status)})
    assert (plan.start, plan.busy) == ({}, ["deploy"])


@pytest.mark.parametrize("status", ["success", "failed", "canceled", "skipped", "created", "scheduled"])
def test_a_job_that_is_over_or_not_reached_decides_nothing(status: str) -> None:
    plan = plan_manual(NAMED, {"deploy": job(7, status)})
    assert (plan.start, plan.busy, plan.unknown) == ({}, [], [])


def test_a_name_that_no_job_has_is_unknown() -> None:
    assert plan_manual(NAMED, {"build": job(1, "success")}).unknown == ["deploy"]


def test_jobs_that_nobody_waits_for_are_not_waited_for() -> None:
    assert plan_manual((), {"a": job(1, "manual", optional=True)}).waiting == []
