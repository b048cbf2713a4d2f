"""The mark of a pipeline, and the channel that carries it."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.external_job.adapter import JobKey, Strength
from airflow_provider_mlops.gitlab.job_key import (
    KeyChannel,
    Mark,
    choose_channel,
    strength_of,
    variables_allowed,
)


def key(epoch: int = 0, generation: int = 0, task: str = "publish") -> JobKey:
    return JobKey("airflow", "release", "manual__1", task, -1, epoch, generation)


def test_a_mark_is_found_again_in_any_text() -> None:
    mark = Mark.of(key(2, 3), 4)
    assert Mark.search(f"Release 1.0 {mark} (docs)") == mark
    assert Mark.search(mark.as_name("Release")) == mark
    assert Mark.search(mark.as_name("x" * 250)) == mark


@pytest.mark.parametrize("text", [None, "", "af-0123", "af-0123456789abcdef.e0.g0.t1"])
def test_other_texts_hold_no_mark(text: str | None) -> None:
    assert Mark.search(text) is None


def test_a_mark_belongs_to_its_slot_and_its_task_slot_to_every_epoch() -> None:
    mark = Mark.of(key(epoch=1), 1)
    assert mark.belongs_to(key(epoch=1, generation=5), any_epoch=False)
    assert not mark.belongs_to(key(epoch=2), any_epoch=False)
    assert mark.belongs_to(key(epoch=2), any_epoch=True)
    assert not mark.belongs_to(key(epoch=1, task="other"), any_epoch=True)


@pytest.mark.parametrize(
    ("arguments", "channel"),
    [
        ({"key_input": "airflow_key"}, KeyChannel.INPUT),
        ({}, KeyChannel.VARIABLE),
        ({"variables_allowed": False}, KeyChannel.NAME),
        ({"variables_allowed": False, "sends_variables": True}, KeyChannel.VARIABLE),
        ({"has_token": False, "key_input": "airflow_key"}, KeyChannel.NONE),
    ],
)
def test_the_strongest_open_channel_is_taken(arguments: dict[str, object], channel: KeyChannel) -> None:
    defaults = {"key_input": None, "has_token": True, "variables_allowed": True, "sends_variables": False}
    assert choose_channel(**{**defaults, **arguments}) is channel  # type: ignore[arg-type]


def test_only_input_and_variable_count_as_keyed() -> None:
    kinds = {channel: strength_of(channel, "k").kind for channel in KeyChannel}
    assert kinds == {
        KeyChannel.INPUT: Strength.KEYED,
        KeyChannel.VARIABLE: Strength.KEYED,
        KeyChannel.NAME: Strength.WEAK,
        KeyChannel.NONE: Strength.NONE,
    }


@pytest.mark.parametrize(
    ("project", "allowed"),
    [
        ({}, True),
        ({"ci_pipeline_variables_minimum_override_role": "no_one_allowed"}, False),
        ({"ci_pipeline_variables_minimum_override_role": "maintainer"}, True),
        (
            {
                "ci_pipeline_variables_minimum_override_role": "maintainer",
                "permissions": {"project_access": {"access_level": 30}, "group_access": None},
            },
            False,
        ),
        (
            {
                "ci_pipeline_variables_minimum_override_role": "maintainer",
                "permissions": {"project_access": {"access_level": 30}, "group_access": {"access_level": 40}},
            },
            True,
        ),
        ({"ci_pipeline_variables_minimum_override_role": "a_new_role"}, True),
    ],
)
def test_the_project_setting_decides_about_variables(project: dict[str, object], allowed: bool) -> None:
    assert variables_allowed(project) is allowed
