"""The runners: which job runs next, what it gets to run with, and in which thread."""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from airflow_provider_mlops.testing.gitlab import environment
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.executors import Executor, JobRun, Outcome
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import Job, now
from airflow_provider_mlops.testing.gitlab.store import Store

_PAUSED_LOOK = 0.02
_LAST_LINE = "Cleaning up project directory and file based variables\n"


class Runners:
    """Takes pending jobs in their order, as many at once as the knobs allow.

    :param changed: Told, under the store's lock, that a job's status moved.
    :param ended: Told, under the store's lock, how a job's run ended.
    """

    def __init__(
        self,
        store: Store,
        knobs: Knobs,
        executor: Executor,
        clock: Clock,
        *,
        changed: Callable[[Job], None],
        ended: Callable[[Job, Outcome], None],
    ) -> None:
        self.store = store
        self.knobs = knobs
        self.executor = executor
        self.clock = clock
        self._changed = changed
        self._ended = ended
        self._queue: list[Job] = []
        self._threads: dict[int, threading.Thread] = {}
        self._closed = False

    def line_up(self, job: Job) -> None:
        """Let a job wait for a runner."""
        job.status = "pending"
        job.queued_at = now()
        if self.knobs.pending_for > 0:
            self.clock.later(self.knobs.pending_for, lambda: self._admit(job))
        else:
            self._queue.append(job)

    def _admit(self, job: Job) -> None:
        with self.store.lock:
            self._queue.append(job)
            self.dispatch()

    def dispatch(self) -> None:
        """Start what there is room for."""
        if self._closed or not self._queue:
            return
        if self.knobs.runner_paused:
            self.clock.later(_PAUSED_LOOK, self._look_again)
            return
        while self._queue and len(self._threads) < self.knobs.concurrent:
            job = self._queue.pop(0)
            if job.status != "pending":
                continue
            job.status = "running"
            job.started_at = now()
            thread = threading.Thread(target=self._run, args=(job,), name=f"gitlab-job-{job.id}", daemon=True)
            self._threads[job.id] = thread
            thread.start()
            self._changed(job)

    def _look_again(self) -> None:
        with self.store.lock:
            self.dispatch()

    def close(self) -> None:
        """Start nothing any more, wait for the threads of canceled jobs, close the executor."""
        with self.store.lock:
            self._closed = True
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()
        self.executor.close()

    def _builds(self, job: Job) -> Path:
        return self.store.root / "builds" / str(job.id)

    def _job_run(self, job: Job) -> JobRun:
        project = job.pipeline.project
        sources = _sources(job)
        dotenv = {name: value for source in sources for name, value in source.dotenv.items()}
        workdir = self._builds(job) / project.path

        def show_status(status: str) -> None:
            with self.store.lock:
                if not job.complete and job.status != "canceling":
                    job.status = status
                    self._changed(job)

        return JobRun(
            job_id=job.id,
            spec=job.spec,
            attempt=job.attempt,
            sha=job.pipeline.sha,
            repository=project.repository,
            variables=environment.of_job(job, dotenv, str(workdir)),
            file_variables=frozenset(
                variable.key
                for variable in (*project.variables.values(), *job.pipeline.variables)
                if variable.variable_type == "file"
            ),
            inbound=tuple(
                archive.content for source in sources if (archive := source.archive(now())) is not None
            ),
            workdir=workdir,
            trace=job.trace,
            knobs=self.knobs,
            cancelled=job.cancelled,
            forced=job.forced,
            show_status=show_status,
        )

    def _run(self, job: Job) -> None:
        try:
            with self.store.lock:
                run = self._job_run(job)
            outcome = self.executor.run(run)
        except Exception:  # noqa: BLE001  a broken runner is a job's failure, and the log tells why
            job.trace.write(traceback.format_exc(), "E")
            outcome = Outcome("failed", "runner_system_failure")
        # What a job may not remove (a folder it made read-only) stays until the root is removed.
        shutil.rmtree(self._builds(job), ignore_errors=True)
        with self.store.lock:
            self._threads.pop(job.id, None)
            self._ended(job, outcome)
            self.dispatch()
        if outcome.afterwards is not None and not self._closed:
            outcome.afterwards()
        if self.knobs.trace_late > 0:
            self.clock.later(self.knobs.trace_late, lambda: self._archive(job, _LAST_LINE))
        else:
            self._archive(job, "")

    def _archive(self, job: Job, last_line: str) -> None:
        job.trace.write(last_line)
        job.trace.shift(self.knobs.trace_shift)


def _sources(job: Job) -> list[Job]:
    """Jobs whose artifacts and dotenv variables a job gets."""
    latest = [other for other in job.pipeline.latest() if other.complete and other is not job]
    if job.spec.needs is not None:
        names = {need.job for need in job.spec.needs if need.artifacts}
        sources = [other for other in latest if other.name in names]
    else:
        sources = [other for other in latest if other.spec.stage_index < job.spec.stage_index]
    if job.spec.dependencies is not None:
        sources = [other for other in sources if other.name in job.spec.dependencies]
    return sources
