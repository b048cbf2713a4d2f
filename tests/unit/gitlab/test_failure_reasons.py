"""Every failure reason of GitLab leads to one decision."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.gitlab.failure_reasons import (
    FAILURE_REASONS,
    FailureClass,
    classify,
    classify_all,
)


def test_all_words_have_a_class_and_none_has_two() -> None:
    assert len(FAILURE_REASONS) == 50
    assert set(FAILURE_REASONS.values()) == set(FailureClass)


@pytest.mark.parametrize("reason", [None, "", "unknown_failure", "a_word_of_gitlab_25"])
def test_an_unknown_reason_may_be_tried_again(reason: str | None) -> None:
    assert classify(reason) is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["script_failure", "runner_system_failure"], FailureClass.USER),
        (["job_execution_timeout", "runner_system_failure"], FailureClass.TIMEOUT),
        (["stuck_pending_no_matching_runners", "runner_interrupted"], FailureClass.CAPACITY),
        (["runner_interrupted", None], FailureClass.INFRASTRUCTURE),
        ([], FailureClass.INFRASTRUCTURE),
    ],
)
def test_the_worst_job_decides(reasons: list[str | None], expected: FailureClass) -> None:
    assert classify_all(reasons) is expected
