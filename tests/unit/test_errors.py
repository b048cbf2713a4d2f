"""The error tree: messages, pickling, and the boundary that ends retries."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest

from airflow_provider_mlops import compat, errors
from airflow_provider_mlops.base.operators import MlopsOperator


def test_message_names_cause_next_step_and_page() -> None:
    error = errors.InvalidArgument(
        "ref is empty", next_step="Name a branch.", url="https://x/1", project="a/b"
    )
    assert str(error) == "ref is empty. Next step: Name a branch. See https://x/1"
    assert error.project == "a/b"
    with pytest.raises(AttributeError, match="no field 'pipeline'"):
        error.pipeline  # noqa: B018


def test_errors_survive_pickling() -> None:
    error = errors.RateLimited("slow down", delay=timedelta(seconds=7), status=429)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.delay, again.status) == (type(error), str(error), error.delay, 429)


def test_permanent_error_ends_retries_and_keeps_its_type() -> None:
    class Refuses(MlopsOperator):
        def execute(self, context: object) -> None:
            raise errors.InvalidArgument("no", next_step="yes")

    with pytest.raises(errors.InvalidArgument) as caught:
        Refuses(task_id="t").execute({})
    assert isinstance(caught.value, compat.AirflowFailException)
    assert type(caught.value).__name__ == "InvalidArgument"


def test_temporary_error_leaves_retries_alone() -> None:
    class Stumbles(MlopsOperator):
        def execute(self, context: object) -> None:
            raise errors.RemoteUnavailable("down")

    with pytest.raises(errors.RemoteUnavailable) as caught:
        Stumbles(task_id="t").execute({})
    assert not isinstance(caught.value, compat.AirflowFailException)
