"""The life of pipelines: what starts when, what a status adds up to, retry, play and cancel."""

from __future__ import annotations

import shutil
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from airflow_provider_mlops.testing.gitlab import environment, statuses
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.executors import Executor, JobRun, Outcome
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Store, User, now
from airflow_provider_mlops.testing.gitlab.specs import ConfigError, JobSpec
from airflow_provider_mlops.testing.gitlab.trace import Trace

FIRST_JOB_ID = 50_001
_PAUSED_LOOK = 0.02
_ACCEPTED = {
    "on_success": {"success", "skipped"},
    "on_failure": {"failed"},
    "always": {"success", "failed", "skipped"},
    "manual": {"success", "skipped"},
    "delayed": {"success", "skipped"},
}


class NotAllowed(Exception):
    """The job is in no state for that."""


class Lifecycle:
    """Moves jobs from ``created`` to their end; every public method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        knobs: Knobs,
        executor: Executor,
        clock: Clock,
        start_downstream: Callable[[Job], Pipeline],
    ) -> None:
        self.store = store
        self.knobs = knobs
        self.executor = executor
        self.clock = clock
        self._start_downstream = start_downstream
        self._queue: list[Job] = []
        self._threads: dict[int, threading.Thread] = {}
        self._closed = False

    # Beginning and progress

    def start(self, pipeline: Pipeline) -> None:
        """Give a new pipeline its jobs and let it begin."""
        with self.store.lock:
            for spec in pipeline.plan.jobs:
                self._add_job(pipeline, spec, pipeline.user)
            pipeline.open = self.knobs.created_for <= 0
            if not pipeline.open:
                self.clock.later(self.knobs.created_for, lambda: self._open(pipeline))
            self._advance(pipeline)

    def _open(self, pipeline: Pipeline) -> None:
        with self.store.lock:
            pipeline.open = True
            self._advance(pipeline)

    def _add_job(self, pipeline: Pipeline, spec: JobSpec, user: User, attempt: int = 0) -> Job:
        job = Job(
            id=self.store.next_id("job", FIRST_JOB_ID),
            spec=spec,
            pipeline=pipeline,
            trace=Trace(timestamps=self.knobs.trace_timestamps),
            user=user,
            attempt=attempt,
            allow_failure=spec.allow_failure,
        )
        masked = [variable.value for variable in pipeline.project.variables.values() if variable.masked]
        job.trace.mask([*masked, job.token])
        pipeline.jobs.append(job)
        return job

    def _advance(self, pipeline: Pipeline) -> None:
        """Start or skip whatever can be decided, then add up the pipeline's status."""
        moved = pipeline.open and not self._closed
        while moved:
            moved = False
            for job in pipeline.latest():
                if job.status == "created":
                    self._decide(job)
                    moved = moved or job.status != "created"
        self._add_up(pipeline)
        self._dispatch()

    def _decide(self, job: Job) -> None:
        latest = job.pipeline.latest()
        if job.spec.needs is None:
            before = [other for other in latest if other.spec.stage_index < job.spec.stage_index]
        else:
            names = {need.job for need in job.spec.needs}
            before = [other for other in latest if other.name in names]
        left_alone = [other for other in before if other.status == "manual" and other.allow_failure]
        if not all(other.complete or other in left_alone for other in before):
            return
        status = statuses.combined((other.status, other.allow_failure) for other in before)
        unmet = job.spec.needs is not None and any(
            other.status == "skipped" or other in left_alone for other in before
        )
        if status not in _ACCEPTED[job.spec.when] or (unmet and job.spec.when != "always"):
            job.status = "skipped"
        elif job.spec.when == "manual":
            job.status = "manual"
        elif job.spec.when == "delayed":
            job.status = "scheduled"
            job.scheduled_at = now() + timedelta(seconds=job.spec.start_in)
            self.clock.later(job.spec.start_in, lambda: self._start_delayed(job))
        else:
            self._enqueue(job)

    def _start_delayed(self, job: Job) -> None:
        with self.store.lock:
            if job.status == "scheduled":
                self._enqueue(job)
                self._advance(job.pipeline)

    def _enqueue(self, job: Job) -> None:
        if job.is_bridge:
            self._start_bridge(job)
            return
        job.status = "pending"
        job.queued_at = now()
        if self.knobs.pending_for > 0:
            self.clock.later(self.knobs.pending_for, lambda: self._line_up(job))
        else:
            self._queue.append(job)

    def _line_up(self, job: Job) -> None:
        with self.store.lock:
            self._queue.append(job)
            self._dispatch()

    def _dispatch(self) -> None:
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
            self._add_up(job.pipeline)

    def _look_again(self) -> None:
        with self.store.lock:
            self._dispatch()

    def _add_up(self, pipeline: Pipeline) -> None:
        before = pipeline.status
        latest = pipeline.latest()
        pipeline.status = statuses.combined((job.status, job.allow_failure) for job in latest)
        if pipeline.status != before:
            pipeline.updated_at = now()
        if pipeline.started_at is None and any(job.started_at for job in latest):
            pipeline.started_at = now()
        if pipeline.status in statuses.COMPLETE:
            pipeline.finished_at = pipeline.finished_at or now()
        else:
            pipeline.finished_at = None
        self.store.changed.notify_all()
        bridge = pipeline.upstream
        if bridge is not None and bridge.spec.downstream and bridge.spec.downstream.depend:
            self._follow(bridge, pipeline, before)

    # Bridges

    def _start_bridge(self, bridge: Job) -> None:
        bridge.started_at = now()
        try:
            bridge.downstream = self._start_downstream(bridge)
        except ConfigError:
            bridge.status, bridge.failure_reason = "failed", "downstream_pipeline_creation_failed"
            bridge.finished_at = now()
            return
        depend = bridge.spec.downstream is not None and bridge.spec.downstream.depend
        if not depend:
            bridge.status, bridge.finished_at = "success", now()
        elif not bridge.complete:
            bridge.status = "running"

    def _follow(self, bridge: Job, downstream: Pipeline, before: str) -> None:
        if downstream.status == before or bridge.status not in ("created", "running", "canceling"):
            return
        if downstream.status in statuses.COMPLETE:
            bridge.status = "success" if downstream.status == "skipped" else downstream.status
            bridge.finished_at = now()
            self._advance(bridge.pipeline)

    # Running

    def _sources(self, job: Job) -> list[Job]:
        """Jobs whose artifacts and dotenv variables this one gets."""
        latest = [other for other in job.pipeline.latest() if other.complete and other is not job]
        if job.spec.needs is not None:
            names = {need.job for need in job.spec.needs if need.artifacts}
            sources = [other for other in latest if other.name in names]
        else:
            sources = [other for other in latest if other.spec.stage_index < job.spec.stage_index]
        if job.spec.dependencies is not None:
            sources = [other for other in sources if other.name in job.spec.dependencies]
        return sources

    def _builds(self, job: Job) -> Path:
        return self.store.root / "builds" / str(job.id)

    def _job_run(self, job: Job) -> JobRun:
        project = job.pipeline.project
        sources = self._sources(job)
        dotenv = {name: value for source in sources for name, value in source.dotenv.items()}
        workdir = self._builds(job) / project.path

        def show_status(status: str) -> None:
            with self.store.lock:
                if not job.complete and job.status != "canceling":
                    job.status = status
                    self._add_up(job.pipeline)

        return JobRun(
            job_id=job.id,
            spec=job.spec,
            attempt=job.attempt,
            sha=job.pipeline.sha,
            repository=project.repository,
            variables=environment.of_job(job, dotenv, str(workdir)),
            file_variables=frozenset(
                variable.key for variable in job.pipeline.variables if variable.variable_type == "file"
            ),
            inbound=tuple(
                source.artifacts["archive"].content for source in sources if "archive" in source.artifacts
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
            self._finish(job, outcome)
            self._dispatch()
        if outcome.afterwards is not None and not self._closed:
            outcome.afterwards()

    def _finish(self, job: Job, outcome: Outcome) -> None:
        job.exit_code = outcome.exit_code
        job.artifacts = {stored.file_type: stored for stored in outcome.artifacts}
        job.dotenv, job.tests = outcome.dotenv, outcome.tests
        if job.complete:
            return
        if job.cancelled.is_set():
            if self.knobs.canceling_for <= 0:
                self._end(job, "canceled")
            elif self.knobs.canceling_for != float("inf"):
                self.clock.later(self.knobs.canceling_for, lambda: self._end_canceling(job))
            return
        job.failure_reason = outcome.failure_reason
        job.allow_failure = job.spec.allow_failure or outcome.exit_code in job.spec.allow_failure_codes
        again = outcome.status == "failed" and self._retries_itself(job)
        self._end(job, outcome.status, again=again)

    def _end_canceling(self, job: Job) -> None:
        with self.store.lock:
            if not job.complete:
                self._end(job, "canceled")

    def _end(self, job: Job, status: str, *, again: bool = False) -> None:
        job.status = status
        job.finished_at = now()
        if again:
            self._enqueue(self._clone(job, job.user))
        self._advance(job.pipeline)

    def _retries_itself(self, job: Job) -> bool:
        retry = job.spec.retry
        if job.attempt >= retry.max:
            return False
        if retry.when or retry.exit_codes:
            return job.failure_reason in retry.when or job.exit_code in retry.exit_codes
        return True

    # What people and programs ask for

    def _clone(self, job: Job, user: User) -> Job:
        job.retried = True
        return self._add_job(job.pipeline, job.spec, user, job.attempt + 1)

    def _reset_skipped(self, pipeline: Pipeline, after: Iterable[Job]) -> None:
        """Let skipped jobs behind ``after`` be decided again."""
        first = min((job.spec.stage_index for job in after), default=0)
        for job in pipeline.latest():
            behind = job.spec.stage_index > first or (job.spec.needs is not None)
            if job.status == "skipped" and behind:
                job.status = "created"

    def retry_pipeline(self, pipeline: Pipeline, user: User) -> None:
        """Run failed and canceled jobs again, in place; bridges stay as they are."""
        with self.store.lock:
            ended = [job for job in pipeline.latest() if job.status in ("failed", "canceled")]
            failed = [job for job in ended if not job.is_bridge]
            if failed:
                for job in failed:
                    self._clone(job, user)
                self._reset_skipped(pipeline, failed)
                self._reset_bridge(pipeline)
            self._advance(pipeline)

    def _reset_bridge(self, pipeline: Pipeline) -> None:
        """Let the bridge that waits for the pipeline, and those above it, run again."""
        bridge = pipeline.upstream
        if bridge is None or not (bridge.spec.downstream and bridge.spec.downstream.depend):
            return
        if not bridge.retried and bridge.complete:
            bridge.status, bridge.finished_at = "running", None
            self._reset_skipped(bridge.pipeline, [bridge])
            self._reset_bridge(bridge.pipeline)
            self._advance(bridge.pipeline)

    def retry_job(self, job: Job, user: User) -> Job:
        """Run one finished job again.

        :raises NotAllowed: it is not finished, or was retried already.
        """
        with self.store.lock:
            if job.status not in statuses.RETRYABLE or job.retried:
                raise NotAllowed("Job is not retryable")
            clone = self._clone(job, user)
            self._enqueue(clone)
            self._reset_skipped(job.pipeline, [clone])
            self._reset_bridge(job.pipeline)
            self._advance(job.pipeline)
            return clone

    def play(
        self, job: Job, user: User, variables: Mapping[str, str], inputs: Mapping[str, object] | None = None
    ) -> None:
        """Start a manual or delayed job.

        :raises NotAllowed: it is neither.
        """
        with self.store.lock:
            if job.status not in statuses.PLAYABLE:
                raise NotAllowed("Unplayable Job")
            job.variables.update(variables)
            job.inputs.update(inputs or {})
            job.user = user
            self._enqueue(job)
            self._reset_skipped(job.pipeline, [job])
            self._advance(job.pipeline)

    def cancel_pipeline(self, pipeline: Pipeline) -> None:
        """Cancel what is not finished, child pipelines included; a finished pipeline stays as it is."""
        with self.store.lock:
            for job in pipeline.latest():
                self._cancel(job)
                if job.downstream is not None and job.downstream.project is pipeline.project:
                    self.cancel_pipeline(job.downstream)
            self._advance(pipeline)

    def cancel_job(self, job: Job, *, force: bool = False) -> None:
        """Cancel one job; ``force`` ends it at once even when it is stuck in ``canceling``."""
        with self.store.lock:
            self._cancel(job)
            if force and job.status == "canceling":
                job.forced.set()
                self._end(job, "canceled")
            self._advance(job.pipeline)

    def _cancel(self, job: Job) -> None:
        if job.status in ("running", "canceling") and not job.is_bridge:
            job.status = "canceling"
            job.cancelled.set()
        elif not job.complete:
            job.status = "canceled"
            job.finished_at = now()

    def close(self) -> None:
        """Cancel everything, wait for the job threads, start nothing any more."""
        with self.store.lock:
            self._closed = True
            threads = list(self._threads.values())
            for project in self.store.projects.values():
                for pipeline in project.pipelines.values():
                    for job in pipeline.latest():
                        if not job.complete:
                            job.cancelled.set()
                            job.forced.set()
        for thread in threads:
            thread.join()
        self.executor.close()
