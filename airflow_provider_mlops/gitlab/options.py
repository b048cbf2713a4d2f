"""Grouped options of the GitLab operators: small frozen values, so that no constructor needs thirty arguments.

A plain word covers the common case of each (``log_jobs="failed"``, ``on_manual="wait"``, ``on_retry="auto"``,
``downstream="ignore"``); an object from here says more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

LogJobs: TypeAlias = 'Literal["all", "failed", "none"] | Sequence[str]'


@dataclass(frozen=True, slots=True)
class GitlabLogs:
    """Which job logs go to the task log, and how much of them.

    :param jobs: ``all``, ``failed`` (when they have ended), ``none``, or names of jobs. A job of a downstream
        pipeline is named alone or with the trigger jobs before it: ``"deploy > test"``.
    :param interval: seconds between two looks at a running job's log. GitLab's runners send a log that
        nobody views only every 15 to 60 seconds; looking more often shows nothing new.
    :param max_bytes: per job; the rest is left to GitLab's page.
    """

    jobs: LogJobs = "all"
    interval: float = 15.0
    max_bytes: int = 4 << 20


class Play(NamedTuple):
    """Start manual jobs when the pipeline waits for them, or has otherwise ended (``on_manual=Play(...)``).

    A job that GitLab does not show as manual any more is not played again, whoever played it: that holds over
    retries, crashes and a change of triggerer. All parts are templated. GitLab keeps the values and shows
    them to the project's members, and so does Airflow: they are no place for secrets.

    :param jobs: name of one job, or names.
    :param variables: job variables, for these jobs only. Collections travel as JSON.
    :param inputs: job inputs, for these jobs only (GitLab 19.1 and later).
    """

    jobs: str | Sequence[str]
    variables: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AutoRetry:
    """``on_retry="auto"`` with more reasons: which failures the next try of the task may repair.

    :param timeouts: a job that was too slow for its own or the runner's limit is run again too.
    :param reasons: further values of GitLab's ``failure_reason`` after which failed jobs are run again, such as
        ``"script_failure"``.
    """

    timeouts: bool = False
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Downstream:
    """How far the pipelines that trigger jobs start are followed (``downstream="follow"`` is the default of this).

    :param depth: levels below the pipeline itself. GitLab allows two of child pipelines; pipelines of other
        projects may go deeper.
    :param limit: at most this many downstream pipelines altogether; the task log says when there are more.
    """

    depth: int = 3
    limit: int = 50


OnManual: TypeAlias = 'Literal["fail", "wait", "succeed"] | Play | Sequence[Play]'
OnSkipped: TypeAlias = Literal["fail", "skip", "succeed"]
OnNoJobs: TypeAlias = Literal["fail", "skip"]
OnRetry: TypeAlias = 'Literal["auto", "reattach", "retry_failed", "new"] | AutoRetry'
FollowDownstream: TypeAlias = 'Literal["follow", "ignore"] | Downstream'
