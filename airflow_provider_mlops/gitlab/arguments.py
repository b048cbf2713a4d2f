"""Checks of the operators' options, and the policy that they add up to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab.options import (
    AutoRetry,
    Downstream,
    FollowDownstream,
    GitlabLogs,
    LogJobs,
    OnManual,
    OnRetry,
    OnSkipped,
    Play,
)
from airflow_provider_mlops.gitlab.pipeline_status import PlayedJob, Policy
from airflow_provider_mlops.gitlab.request import json_value, variable_text

_WORDS: dict[str, Sequence[str]] = {
    "on_manual": ("fail", "wait", "succeed"),
    "on_skipped": ("fail", "skip", "succeed"),
    "on_no_jobs": ("fail", "skip"),
    "on_retry": ("auto", "reattach", "retry_failed", "new"),
    "log_jobs": ("all", "failed", "none"),
    "downstream": ("follow", "ignore"),
}
_OBJECTS = {
    "on_manual": "Play(...)",
    "on_retry": "AutoRetry(...)",
    "log_jobs": "a list of job names, GitlabLogs(...)",
    "downstream": "Downstream(...)",
}


def check_word(argument: str, value: object) -> str:
    """Check that an option is one of its words.

    :param argument: name of the option.
    :raises InvalidArgument: it is not; nothing was done yet.
    """
    words = _WORDS[argument]
    if value not in words:
        choices = ", ".join([*words, *([_OBJECTS[argument]] if argument in _OBJECTS else [])])
        raise InvalidArgument(f"{argument} is {value!r}", next_step=f"Use one of {choices}.")
    return str(value)


def logs_of(log_jobs: LogJobs | GitlabLogs) -> GitlabLogs:
    """What ``log_jobs`` means.

    :raises InvalidArgument: no such choice, or a limit that is not positive.
    """
    logs = log_jobs if isinstance(log_jobs, GitlabLogs) else GitlabLogs(log_jobs)
    if isinstance(logs.jobs, str):
        check_word("log_jobs", logs.jobs)
    elif not _are_texts(logs.jobs):
        raise InvalidArgument(f"log_jobs: {logs.jobs!r} are no names of jobs")
    if logs.interval < 0 or logs.max_bytes <= 0:
        raise InvalidArgument(
            f"log_jobs: interval {logs.interval} and max_bytes {logs.max_bytes}",
            next_step="Give seconds of at least zero, and bytes above zero.",
        )
    return logs


def policy_of(
    *,
    on_manual: OnManual = "fail",
    on_skipped: OnSkipped = "fail",
    on_retry: OnRetry = "auto",
    downstream: FollowDownstream = "follow",
    allow_warnings: bool = True,
    force_cancel: bool = False,
) -> Policy:
    """What the author wants of unusual outcomes.

    :raises InvalidArgument: one of them is wrong.
    """
    played = [on_manual] if isinstance(on_manual, Play) else on_manual
    plays = () if isinstance(played, str) else _plays(played)
    auto = on_retry if isinstance(on_retry, AutoRetry) else AutoRetry()
    if not _are_texts(auto.reasons):
        raise InvalidArgument(
            f"on_retry: reasons {auto.reasons!r} is no list of failure reasons",
            next_step="Example: AutoRetry(reasons=['script_failure']).",
        )
    follow = downstream if isinstance(downstream, Downstream) else Downstream()
    if follow.depth < 1 or follow.limit < 1:
        raise InvalidArgument(
            f"downstream: depth {follow.depth} and limit {follow.limit}",
            next_step="Give numbers above zero, or downstream='ignore'.",
        )
    ignored = not isinstance(downstream, Downstream) and check_word("downstream", downstream) == "ignore"
    return Policy(
        on_manual=check_word("on_manual", played) if isinstance(played, str) else "fail",
        on_skipped=check_word("on_skipped", on_skipped),
        on_retry=check_word("on_retry", on_retry) if isinstance(on_retry, str) else "auto",
        plays=plays,
        retry_timeouts=auto.timeouts,
        retry_reasons=tuple(auto.reasons),
        allow_warnings=allow_warnings,
        depth=0 if ignored else follow.depth,
        limit=follow.limit,
        force_cancel=force_cancel,
    )


def _plays(given: object) -> tuple[PlayedJob, ...]:
    plays: list[PlayedJob] = []
    if not isinstance(given, Sequence) or not given or not all(isinstance(play, Play) for play in given):
        check_word("on_manual", given)
    for play in given if isinstance(given, Sequence) else ():
        names = [play.jobs] if isinstance(play.jobs, str) else play.jobs
        if not _are_texts(names) or not names or not all(names):
            raise InvalidArgument(
                f"on_manual: Play needs names of jobs, not {play.jobs!r}",
                next_step="Example: Play('deploy').",
            )
        variables = {name: variable_text(name, value) for name, value in (play.variables or {}).items()}
        inputs = {
            name: json_value(f"on_manual: inputs[{name!r}]", value)
            for name, value in (play.inputs or {}).items()
        }
        plays += [PlayedJob(name, variables, inputs) for name in names]
    twice = sorted({play.name for play in plays if sum(play.name == other.name for other in plays) > 1})
    if twice:
        raise InvalidArgument(f"on_manual: {', '.join(twice)} is to be played twice")
    return tuple(plays)


def _are_texts(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | Mapping)
        and all(isinstance(item, str) for item in value)
    )
