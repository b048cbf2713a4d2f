"""The mark by which a pipeline is found again, and the channel that carries it. Pure.

GitLab has no idempotency key. What it keeps with a pipeline, from strong to weak: the pipeline's name
(listed with it; set by ``workflow:name``, which may use a declared input or a variable), its variables (one
request each), and nothing else. A name can also be put on after creation, which leaves a gap.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from airflow_provider_mlops.external_job.adapter import JobKey, Strength

#: Pipeline variable that carries the mark.
KEY_VARIABLE = "AIRFLOW_JOB_KEY"

_MARK = re.compile(r"(af-[0-9a-f]{16})\.(af-[0-9a-f]{16})\.e(\d+)\.g(\d+)\.t(\d+)(?!\d)")
_NAME_LIMIT = 255


class KeyChannel(StrEnum):
    """Where the mark is kept."""

    #: A declared input that ``workflow:name`` shows.
    INPUT = "input"
    #: The variable :data:`KEY_VARIABLE`.
    VARIABLE = "variable"
    #: The pipeline's name, put on after creation.
    NAME = "name"
    #: Nowhere: a trigger token alone can neither read nor rename a pipeline.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a pipeline says of the task that started it."""

    slot: str
    task_slot: str
    epoch: int
    generation: int
    try_number: int

    @classmethod
    def of(cls, key: JobKey, try_number: int) -> Self:
        """The mark of one try."""
        return cls(key.slot, key.task_slot, key.epoch, key.generation, try_number)

    @classmethod
    def search(cls, text: str | None) -> Self | None:
        """The mark in a pipeline's name or variable, if there is one."""
        match = _MARK.search(text or "")
        if match is None:
            return None
        slot, task_slot, epoch, generation, try_number = match.groups()
        return cls(slot, task_slot, int(epoch), int(generation), int(try_number))

    def __str__(self) -> str:
        return f"{self.slot}.{self.task_slot}.e{self.epoch}.g{self.generation}.t{self.try_number}"

    def belongs_to(self, key: JobKey, *, any_epoch: bool) -> bool:
        """Whether the pipeline is one of this key's slot or, with ``any_epoch``, of its task slot."""
        return self.task_slot == key.task_slot if any_epoch else self.slot == key.slot

    def as_name(self, present: str | None) -> str:
        """A pipeline name that holds the mark behind the name it already has."""
        text = f"{present} {self}" if present else f"Airflow {self}"
        return text if len(text) <= _NAME_LIMIT else str(self)


_ROLES = {"developer": 30, "maintainer": 40, "owner": 50}


def variables_allowed(project: Mapping[str, Any]) -> bool:
    """Whether the project lets this account set pipeline variables, as far as its API entity tells.

    An account without the right to see the setting gets ``True``; then the creation itself shows it.
    """
    role = project.get("ci_pipeline_variables_minimum_override_role")
    if role == "no_one_allowed":
        return False
    needed = _ROLES.get(str(role))
    permissions = project.get("permissions") or {}
    levels = [
        access["access_level"]
        for access in (permissions.get("project_access"), permissions.get("group_access"))
        if access
    ]
    return needed is None or not levels or max(levels) >= needed


def choose_channel(
    *, key_input: str | None, has_token: bool, variables_allowed: bool, sends_variables: bool
) -> KeyChannel:
    """The strongest channel that is open.

    :param key_input: declared input that takes the mark, if the author named one.
    :param has_token: the connection has a token that reads pipelines.
    :param sends_variables: the author sends variables anyway, so the key costs no further right.
    """
    if not has_token:
        return KeyChannel.NONE
    if key_input:
        return KeyChannel.INPUT
    if variables_allowed or sends_variables:
        return KeyChannel.VARIABLE
    return KeyChannel.NAME


def strength_of(channel: KeyChannel, key_input: str | None = None) -> Strength:
    """How strongly a channel keeps the key, for the task log and for ``exactly_once="required"``."""
    match channel:
        case KeyChannel.INPUT:
            return Strength(
                Strength.KEYED,
                f"The job key travels as input {key_input!r} and is read from the pipeline's name.",
            )
        case KeyChannel.VARIABLE:
            return Strength(Strength.KEYED, f"The job key travels as pipeline variable {KEY_VARIABLE}.")
        case KeyChannel.NAME:
            return Strength(
                Strength.WEAK,
                "The project forbids pipeline variables: the pipeline is named after its creation, and a pipeline "
                "whose creation was not answered is recognised by account, ref and time only.",
            )
        case KeyChannel.NONE:
            return Strength(
                Strength.NONE,
                "A trigger token alone cannot look for a pipeline whose creation was not answered.",
            )
