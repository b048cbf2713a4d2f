"""Options of the operators become one policy, or an error that names the choices."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_mlops import gitlab
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab import AutoRetry, Downstream, GitlabLogs, Play
from airflow_provider_mlops.gitlab.arguments import logs_of, policy_of
from airflow_provider_mlops.gitlab.pipeline_status import PlayedJob, Policy


def test_words_are_the_defaults_of_their_objects() -> None:
    assert policy_of() == policy_of(on_retry=AutoRetry(), downstream=Downstream())
    assert logs_of("failed") == logs_of(GitlabLogs("failed"))


def test_ignored_downstream_pipelines_have_no_depth() -> None:
    assert policy_of(downstream="ignore").depth == 0


def test_played_jobs_have_texts_as_variables_and_block_on_others() -> None:
    policy = policy_of(on_manual=[Play(["a", "b"], {"N": 1, "L": [True]}, {"x": [1]}), Play("c > d")])
    shared = ({"N": "1", "L": "[true]"}, {"x": [1]})
    assert policy.plays == (PlayedJob("a", *shared), PlayedJob("b", *shared), PlayedJob("c > d"))
    assert policy.on_manual == "fail"


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        policy_of(on_manual=Play("a", {"B": 1}), on_retry=AutoRetry(timeouts=True, reasons=["x"])),
        policy_of(downstream=Downstream(depth=1, limit=2), allow_warnings=False, force_cancel=True),
    ],
)
def test_a_policy_survives_the_trigger_row(policy: Policy) -> None:
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"on_manual": "play"}, r"fail, wait, succeed, Play\(\.\.\.\)"),
        ({"on_manual": {"jobs": "a"}}, "Play"),
        ({"on_manual": None}, "Play"),
        ({"on_manual": [Play("a"), Play("a")]}, "twice"),
        ({"on_skipped": "wait"}, "fail, skip, succeed"),
        ({"on_retry": "always"}, "AutoRetry"),
        ({"on_retry": AutoRetry(reasons="script_failure")}, "list of failure reasons"),
        ({"downstream": 3}, r"follow, ignore, Downstream\(\.\.\.\)"),
        ({"downstream": Downstream(depth=0)}, "depth 0"),
    ],
)
def test_a_wrong_option_names_the_choices(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        policy_of(**arguments)


def test_the_options_are_public_documented_and_frozen() -> None:
    for name in gitlab.__all__:
        kind = getattr(gitlab, name)
        assert (kind.__doc__ or "").strip()
        option = kind("a") if kind is Play else kind()
        with pytest.raises(AttributeError):
            setattr(option, next(iter(kind.__annotations__)), "x")
