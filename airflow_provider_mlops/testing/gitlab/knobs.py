"""How this GitLab behaves on the whole: versions, lags and limits. Faults of single requests are in ``faults``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Knobs:
    """Settings that may be changed while the server runs; times are seconds.

    :param version: What ``GET /version`` answers.
    :param trace_windows: Honour ``byte_offset`` and ``byte_limit`` (GitLab 19.1); False ignores them.
    :param trace_timestamps: Log lines carry the 32-byte prefix of runners since 18.7.
    :param trigger_jobs: ``/trigger_jobs`` exists (19.2); False leaves only ``/bridges``.
    :param hidden_after_create: How long a new pipeline answers 404 to reads.
    :param stale_after_create: How long reads still show a new pipeline as ``created`` without jobs.
    :param list_lag: How long a new pipeline is missing from lists.
    :param created_for: How long jobs stay ``created`` before anything starts.
    :param pending_for: How long each job waits for a runner.
    :param runner_paused: No job leaves ``pending`` while this is True.
    :param concurrent: How many jobs run at once.
    :param canceling_for: How long a canceled running job stays ``canceling`` at least; ``float("inf")``
        keeps it there until it is force-canceled.
    :param variables_forbidden: Refuse pipeline variables, as new projects on GitLab.com do.
    :param too_many_pipelines: Refuse this many further creations with the rate limit's 400.
    :param inputs_supported: False ignores ``inputs``, as servers before 17.10 do.
    :param artifacts_redirect: Answer artifact downloads with a 302 to object storage.
    :param artifacts_expired: Artifact downloads answer 404.
    :param hide_total_headers: Leave out ``X-Total`` and ``X-Total-Pages``, as above 10 000 rows.
    :param statuses: Statuses to show instead of the real ones, by pipeline or job id.
    :param failure_reasons: Failure reasons to show instead of the real ones, by job id.
    :param grace: How long a canceled job's processes get between SIGTERM and SIGKILL.
    :param after_script_timeout: Limit for ``after_script``.
    """

    version: str = "19.2.0-ee"
    trace_windows: bool = True
    trace_timestamps: bool = True
    trigger_jobs: bool = True
    hidden_after_create: float = 0.0
    stale_after_create: float = 0.0
    list_lag: float = 0.0
    created_for: float = 0.0
    pending_for: float = 0.0
    runner_paused: bool = False
    concurrent: int = 4
    canceling_for: float = 0.0
    variables_forbidden: bool = False
    too_many_pipelines: int = 0
    inputs_supported: bool = True
    artifacts_redirect: bool = False
    artifacts_expired: bool = False
    hide_total_headers: bool = False
    statuses: dict[int, str] = field(default_factory=dict)
    failure_reasons: dict[int, str] = field(default_factory=dict)
    grace: float = 2.0
    after_script_timeout: float = 300.0

    def set(self, **values: Any) -> None:
        """Change several at once.

        :raises AttributeError: there is no such knob.
        """
        for name, value in values.items():
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"no knob named {name!r}")
            setattr(self, name, value)
