"""Manual jobs: which of those that the author names are to be started now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.gitlab.pipeline_status import COMPLETE, PlayedJob

#: Nothing moves a pipeline in these states but the start of a manual job. ``skipped`` is what GitLab calls a
#: pipeline of nothing but manual jobs that it does not wait for.
AT_REST = frozenset({"manual", "success", "skipped"})

_NOT_STARTED = COMPLETE | {"created", "manual", "scheduled"}


@dataclass(frozen=True, slots=True)
class ManualPlan:
    """What to do about manual jobs.

    :param start: jobs to start now, by id.
    :param busy: names of jobs of the author's that run, or are about to: the pipeline is not at rest, whatever an
        older answer says.
    :param unknown: names that no job of the pipeline has.
    :param waiting: names of the manual jobs that wait for somebody.
    """

    start: Mapping[int, PlayedJob]
    busy: Sequence[str]
    unknown: Sequence[str]
    waiting: Sequence[str]


def plan_manual(plays: Sequence[PlayedJob], jobs: Mapping[str, Mapping[str, Any]]) -> ManualPlan:
    """Decide about manual jobs.

    :param jobs: the latest run of every job (trigger jobs too) by its name; of a downstream pipeline, behind
        the names of the trigger jobs that lead to it.
    """
    start: dict[int, PlayedJob] = {}
    busy, unknown = [], []
    for play in plays:
        job = jobs.get(play.name)
        if job is None:
            unknown.append(play.name)
        elif job["status"] == "manual":
            start[job["id"]] = play
        elif job["status"] not in _NOT_STARTED:
            busy.append(play.name)
    waiting = [name for name, job in jobs.items() if job["status"] == "manual" and not job["allow_failure"]]
    return ManualPlan(start, busy, unknown, waiting)
