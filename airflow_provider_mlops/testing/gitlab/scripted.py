"""Runs jobs from a script in Python: deterministic logs, statuses and ends, without processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from airflow_provider_mlops.testing.gitlab import artifacts
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact
from airflow_provider_mlops.testing.gitlab.executors import JobRun, Outcome

_LOOK_EVERY = 0.005


@dataclass(frozen=True)
class Log:
    """Write to the log; ``stream`` is ``O`` or ``E``."""

    text: str
    stream: str = "O"


@dataclass(frozen=True)
class RawLog:
    """Add exact bytes to the log, without prefix or masking: half a character, half a line, ``\\r`` bars."""

    data: bytes


@dataclass(frozen=True)
class Pause:
    """Go on after some seconds; a cancel ends it early."""

    seconds: float


@dataclass(frozen=True)
class Gate:
    """Go on when the test calls :meth:`Scenario.release` with this name; a cancel ends it early."""

    name: str


@dataclass(frozen=True)
class ShowStatus:
    """Show any status while the job still runs, also one that does not exist yet."""

    status: str


@dataclass(frozen=True)
class Artifact:
    """Put a file into the job's archive."""

    path: str
    content: str | bytes


@dataclass(frozen=True)
class Dotenv:
    """Pass variables to later jobs."""

    variables: Mapping[str, str]


@dataclass(frozen=True)
class Junit:
    """Report tests: a JUnit XML text."""

    xml: str


@dataclass(frozen=True)
class Fail:
    """End as failed; any ``failure_reason`` goes, also one that does not exist yet, or None."""

    reason: str | None = "script_failure"
    exit_code: int | None = 1


@dataclass(frozen=True)
class LateLog:
    """Write to the log ``after`` seconds past the end of the job."""

    text: str
    after: float = 0.0


@dataclass(frozen=True)
class ShiftLog:
    """When the job has ended, move all offsets, as archiving a live log can do."""

    count: int


Step = Log | RawLog | Pause | Gate | ShowStatus | Artifact | Dotenv | Junit | Fail | LateLog | ShiftLog


@dataclass(frozen=True)
class ScriptedJob:
    """A job of a scenario.

    :param attempts: The steps of the first run, of the first retry, and so on; the last one repeats.
    :param keywords: Further keywords of the job's configuration: ``when``, ``needs``, ``allow_failure``...
    """

    attempts: Sequence[Sequence[Step]] = ((),)
    stage: str = "test"
    keywords: Mapping[str, Any] = field(default_factory=dict)


class Scenario:
    """An executor that plays steps.

    :param jobs: Steps, or a :class:`ScriptedJob`, by job name. A job that is not here succeeds at once.
    :param config: Further top-level keywords of ``.gitlab-ci.yml``: ``workflow``, ``variables``, bridges...
    :param spec: The ``spec`` header, for example ``{"inputs": {"model": {"type": "string"}}}``.
    """

    def __init__(
        self,
        jobs: Mapping[str, ScriptedJob | Sequence[Step]],
        *,
        config: Mapping[str, Any] | None = None,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.jobs = {
            name: job if isinstance(job, ScriptedJob) else ScriptedJob((tuple(job),))
            for name, job in jobs.items()
        }
        self.config = dict(config or {})
        self.spec = spec
        self._gates: dict[str, threading.Event] = {}
        self._reached: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def initial_files(self) -> Mapping[str, str]:
        stages = list(dict.fromkeys(job.stage for job in self.jobs.values()))
        tree: dict[str, Any] = {
            "stages": stages,
            **{
                name: {"stage": job.stage, "script": ["true"], **job.keywords}
                for name, job in self.jobs.items()
            },
            **self.config,
        }
        header = "" if self.spec is None else yaml.safe_dump({"spec": dict(self.spec)}) + "---\n"
        return {".gitlab-ci.yml": header + yaml.safe_dump(tree, sort_keys=False)}

    def _event(self, events: dict[str, threading.Event], name: str) -> threading.Event:
        with self._lock:
            return events.setdefault(name, threading.Event())

    def release(self, gate: str) -> None:
        """Let jobs pass a gate, now and later."""
        self._event(self._gates, gate).set()

    def wait_reached(self, gate: str, timeout: float = 5.0) -> None:
        """Wait until a job stands at a gate.

        :raises TimeoutError: none came.
        """
        if not self._event(self._reached, gate).wait(timeout):
            raise TimeoutError(f"no job reached the gate {gate!r} within {timeout} s")

    def close(self) -> None:
        """Nothing to leave: pauses and gates end with the cancel of their job."""

    def run(self, run: JobRun) -> Outcome:
        job = self.jobs.get(run.spec.name, ScriptedJob())
        steps = job.attempts[min(run.attempt, len(job.attempts) - 1)]
        outcome = Outcome("success", exit_code=0)
        files: dict[str, bytes] = {}
        after: list[LateLog | ShiftLog] = []
        for step in steps:
            if run.cancelled.is_set():
                break
            match step:
                case Log(text, stream):
                    run.trace.write(text, stream)
                case RawLog(data):
                    run.trace.append_raw(data)
                case Pause(seconds):
                    run.cancelled.wait(seconds)
                case Gate(name):
                    self._event(self._reached, name).set()
                    gate = self._event(self._gates, name)
                    while not gate.wait(_LOOK_EVERY) and not run.cancelled.is_set():
                        pass
                case ShowStatus(status):
                    run.show_status(status)
                case Artifact(path, content):
                    files[path] = content.encode() if isinstance(content, str) else content
                case Dotenv(variables):
                    outcome.dotenv.update(variables)
                case Junit(xml):
                    outcome.tests = artifacts.parse_junit([xml.encode()])
                case LateLog() | ShiftLog():
                    after.append(step)
                case Fail(reason, code):
                    outcome.status, outcome.failure_reason, outcome.exit_code = "failed", reason, code
                    break
        run.trace.flush()
        if files:
            outcome.artifacts.append(StoredArtifact("archive", "artifacts.zip", artifacts.archive(files)))
        outcome.afterwards = lambda: _afterwards(run, after)
        return outcome


def _afterwards(run: JobRun, steps: Sequence[LateLog | ShiftLog]) -> None:
    for step in steps:
        match step:
            case LateLog(text, after):
                time.sleep(after)
                run.trace.write(text)
                run.trace.flush()
            case ShiftLog(count):
                run.trace.shift(count)
