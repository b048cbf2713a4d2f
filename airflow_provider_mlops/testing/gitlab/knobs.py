"""How this GitLab behaves on the whole: versions, lags and limits. Faults of single requests are in ``faults``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlops.testing.gitlab.trace import OUTPUT_LIMIT

_KINDS: dict[str, type | tuple[type, ...]] = {
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "dict": dict,
}


@dataclass
class Knobs:
    """Settings that may be changed while the server runs; times are seconds.

    :param version: What ``GET /version`` answers.
    :param trace_windows: Honour ``byte_offset`` and ``byte_limit`` (GitLab 19.1); False ignores them.
    :param trace_timestamps: Log lines carry the 32-byte prefix of runners since 18.7.
    :param trace_every: How seldom the runner sends what is new in a log, while its job runs.
    :param trace_late: How long after the end of its job a log gets its last line; 0 is before the end.
    :param trace_shift: By how many bytes all offsets of a log move then, as when it is archived.
    :param trace_limit: After how many bytes the runner drops the rest of a log.
    :param trigger_jobs: ``/trigger_jobs`` exists (19.2); False leaves only ``/bridges``.
    :param hidden_after_create: How long a new pipeline answers 404 to reads.
    :param stale_after_create: How long reads still show a new pipeline as ``created`` without jobs.
    :param list_lag: How long a new pipeline is missing from lists.
    :param downstream_after: How long a bridge waits before its pipeline exists.
    :param created_for: How long jobs stay ``created`` before anything starts.
    :param pending_for: How long each job waits for a runner.
    :param runner_paused: No job leaves ``pending`` while this is True.
    :param concurrent: How many jobs run at once.
    :param canceling_for: How long a canceled running job stays ``canceling`` at least; ``float("inf")``
        keeps it there until it is force-canceled.
    :param variables_forbidden: Refuse pipeline variables, as new projects on GitLab.com do.
    :param variables_hidden: ``GET /pipelines/:id/variables`` answers 403.
    :param broken_pipelines_saved: A trigger token's pipeline with a wrong configuration answers 422 and stays
        as a failed pipeline; False answers 400 and leaves nothing, as older servers do.
    :param too_many_pipelines: Refuse this many further creations with the rate limit's 400.
    :param pipelines_per_minute: Creations that a user may ask for per commit; 0 is without limit.
    :param inputs_supported: False ignores ``inputs``, as servers before 17.10 do.
    :param artifacts_redirect: Answer artifact downloads with a 302 to object storage.
    :param storage_refuses_tokens: That storage answers 400 not only to ``Authorization``, but to any header
        with a token of GitLab.
    :param artifacts_expired: Artifact downloads answer 404.
    :param reports_downloadable: ``?file_type=dotenv`` gives that report; False sends the archive instead.
    :param stats_refreshing: Erasing and deleting answer 409.
    :param hide_total_headers: Leave out ``X-Total`` and ``X-Total-Pages``, as above 10 000 rows.
    :param requests_per_minute: Requests that a token may make, with ``RateLimit-*`` headers in every answer
        and ``Retry-After`` in a 429; 0 is without limit and without headers.
    :param jobs_index_per_minute: ``GET /projects/:id/jobs`` that a user may make; its 429 has no headers.
    :param project_per_minute: ``GET /projects/:id`` that a user may make; its 429 has no headers.
    :param lint_per_minute: Lints that a user may make; its 429 has no headers.
    :param statuses: Statuses to show instead of the real ones, by pipeline or job id.
    :param failure_reasons: Failure reasons to show instead of the real ones, by job id.
    :param merge_statuses: ``detailed_merge_status`` to show instead of the real one, by the iid of an open merge
        request; only ``mergeable`` ones are merged.
    :param grace: How long a canceled job's processes get between SIGTERM and SIGKILL.
    :param after_script_timeout: Limit for ``after_script``.
    """

    version: str = "19.2.0-ee"
    trace_windows: bool = True
    trace_timestamps: bool = True
    trace_every: float = 0.0
    trace_late: float = 0.0
    trace_shift: int = 0
    trace_limit: int = OUTPUT_LIMIT
    trigger_jobs: bool = True
    hidden_after_create: float = 0.0
    stale_after_create: float = 0.0
    list_lag: float = 0.0
    downstream_after: float = 0.0
    created_for: float = 0.0
    pending_for: float = 0.0
    runner_paused: bool = False
    concurrent: int = 4
    canceling_for: float = 0.0
    variables_forbidden: bool = False
    variables_hidden: bool = False
    broken_pipelines_saved: bool = True
    too_many_pipelines: int = 0
    pipelines_per_minute: int = 0
    inputs_supported: bool = True
    artifacts_redirect: bool = False
    storage_refuses_tokens: bool = False
    artifacts_expired: bool = False
    reports_downloadable: bool = False
    stats_refreshing: bool = False
    hide_total_headers: bool = False
    requests_per_minute: int = 0
    jobs_index_per_minute: int = 0
    project_per_minute: int = 0
    lint_per_minute: int = 0
    statuses: dict[int, str] = field(default_factory=dict)
    failure_reasons: dict[int, str] = field(default_factory=dict)
    merge_statuses: dict[int, str] = field(default_factory=dict)
    grace: float = 2.0
    after_script_timeout: float = 300.0

    def set(self, **values: Any) -> None:
        """Change several at once, or none.

        :raises AttributeError: there is no such knob.
        :raises TypeError: a value is not of its knob's kind.
        """
        for name, value in values.items():
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"no knob named {name!r}")
            kind = str(self.__dataclass_fields__[name].type).partition("[")[0]
            number = kind in ("int", "float") and isinstance(value, bool)
            if number or not isinstance(value, _KINDS[kind]):
                raise TypeError(f"knob {name!r} takes a {kind}, not {value!r}")
        for name, value in values.items():
            setattr(self, name, value)
