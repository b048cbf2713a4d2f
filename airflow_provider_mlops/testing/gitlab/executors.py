"""What the lifecycle and the ways to run a job agree on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact, TestReport
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.repository import Repository
from airflow_provider_mlops.testing.gitlab.specs import JobSpec
from airflow_provider_mlops.testing.gitlab.trace import Trace


@dataclass
class JobRun:
    """One run of one job.

    :param attempt: 0 for the first, one more for each retry.
    :param variables: Everything the job's environment gets from CI.
    :param file_variables: Names of variables whose value goes into a file.
    :param inbound: Archives to unpack before the script starts.
    :param workdir: A folder of its own; it may be missing still.
    :param cancelled: Set when somebody cancels; end soon, the answer's status is not looked at.
    :param forced: Set when a force-cancel ended the job already: stop without ceremony.
    :param show_status: Lets the job show another status while it runs.
    """

    job_id: int
    spec: JobSpec
    attempt: int
    sha: str
    repository: Repository
    variables: Mapping[str, str]
    file_variables: frozenset[str]
    inbound: tuple[bytes, ...]
    workdir: Path
    trace: Trace
    knobs: Knobs
    cancelled: threading.Event
    forced: threading.Event
    show_status: Callable[[str], None]


@dataclass
class Outcome:
    """How a run ended: ``success`` or ``failed``; ``afterwards`` runs once the status is visible."""

    status: str
    failure_reason: str | None = None
    exit_code: int | None = None
    artifacts: list[StoredArtifact] = field(default_factory=list)
    dotenv: dict[str, str] = field(default_factory=dict)
    tests: TestReport | None = None
    afterwards: Callable[[], None] | None = None


class Executor(Protocol):
    """Runs jobs, each in a thread of its own."""

    def initial_files(self) -> Mapping[str, str]:
        """Files that a new project starts with; ``.gitlab-ci.yml`` among them."""
        ...

    def run(self, run: JobRun) -> Outcome:
        """Run to the end; an exception counts as ``runner_system_failure``."""
        ...

    def close(self) -> None:
        """Leave nothing running."""
        ...
