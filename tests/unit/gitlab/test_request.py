"""What the author gives becomes what GitLab takes, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab.arguments import policy_of
from airflow_provider_mlops.gitlab.options import AutoRetry, GitlabLogs, Play
from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
from airflow_provider_mlops.gitlab.request import PipelineRequest, variable_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        ({"ä": [1]}, '{"ä": [1]}'),
        (["a"], '["a"]'),
    ],
)
def test_variables_become_texts(value: Any, text: str) -> None:
    assert variable_text("X", value) == text


@pytest.mark.parametrize("value", [None, object(), {1, 2}, float("nan"), b"x"])
def test_values_without_a_text_form_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="X"):
        variable_text("X", value)


@pytest.mark.parametrize("value", [None, {"a": 1}, object(), float("inf")])
def test_inputs_that_gitlab_has_no_type_for_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="x"):
        PipelineRequest.checked(project="a/b", inputs={"x": value})


def test_too_many_inputs_are_refused() -> None:
    inputs = {f"i{number}": 1 for number in range(20)}
    PipelineRequest.checked(project="a/b", inputs=inputs)
    with pytest.raises(InvalidArgument, match="20"):
        PipelineRequest.checked(project="a/b", inputs=inputs, key_input="key")


def test_an_adapter_survives_the_trigger_row() -> None:
    request = PipelineRequest.checked(
        project="a/b",
        ref="v1",
        inputs={"x": ("a", "b")},
        variables={"A": 1},
        file_variables={"F": "text"},
        secret_variables={"S": "registry"},
        key_input="key",
    )
    adapter = PipelineAdapter(
        "git",
        request,
        policy_of(on_retry=AutoRetry(reasons=["x"]), on_manual=Play("a", {"B": 1}, {"c": [1]})),
        GitlabLogs(("a", "b")),
        {"o": "j:f.json"},
        require_key=True,
    )
    row = json.loads(json.dumps(adapter.to_json()))
    assert row == adapter.to_json()
    assert PipelineAdapter.from_json(row).to_json() == adapter.to_json()
    assert PipelineAdapter.from_json(row).poll_group == adapter.poll_group
    assert adapter.conn_ids == ("git", "registry")
