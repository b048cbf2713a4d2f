"""The life of pipelines: what starts when, what a status adds up to, retry, play and cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from airflow_provider_mlops.testing.gitlab import statuses
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.downstream import DownstreamRefused
from airflow_provider_mlops.testing.gitlab.executors import Executor, Outcome
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, User, now
from airflow_provider_mlops.testing.gitlab.resource_groups import ResourceGroups
from airflow_provider_mlops.testing.gitlab.runners import Runners
from airflow_provider_mlops.testing.gitlab.specs import JobSpec
from airflow_provider_mlops.testing.gitlab.store import Store
from airflow_provider_mlops.testing.gitlab.trace import Trace

FIRST_JOB_ID = 50_001
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
    """Moves jobs from ``created`` to their end; every public method may be called from any thread.

    ``listeners`` are called, under the store's lock, with every pipeline in which something moved.
    """

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
        self.clock = clock
        self.listeners: list[Callable[[Pipeline], None]] = []
        self._start_downstream = start_downstream
        self._runners = Runners(
            store,
            knobs,
            executor,
            clock,
            changed=lambda job: self._add_up(job.pipeline),
            ended=self._finish,
        )
        self._resources = ResourceGroups()
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
            trace=Trace(timestamps=self.knobs.trace_timestamps, limit=self.knobs.trace_limit),
            user=user,
            attempt=attempt,
            allow_failure=spec.allow_failure,
        )
        masked = [variable.value for variable in pipeline.project.variables.values() if variable.masked]
        job.trace.mask([*masked, job.token])
        pipeline.jobs.append(job)
        self.store.jobs[job.id] = job
        self.store.job_tokens[job.token] = job
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
        self._runners.dispatch()

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
        if not self._resources.take(job):
            job.status = "waiting_for_resource"
        elif not job.is_bridge:
            self._runners.line_up(job)
        elif self.knobs.downstream_after > 0:
            job.status = "pending"
            self.clock.later(self.knobs.downstream_after, lambda: self._start_late(job))
        else:
            self._start_bridge(job)

    def _add_up(self, pipeline: Pipeline) -> None:
        before = pipeline.status
        latest = pipeline.latest()
        if not latest:
            return
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
        for listen in self.listeners:
            listen(pipeline)
        if pipeline.upstream is not None and pipeline.depended_on:
            self._follow(pipeline.upstream, pipeline, before)

    # Bridges

    def _start_late(self, bridge: Job) -> None:
        with self.store.lock:
            if bridge.status == "pending" and not self._closed:
                self._start_bridge(bridge)
                self._advance(bridge.pipeline)

    def _start_bridge(self, bridge: Job) -> None:
        bridge.started_at = now()
        try:
            bridge.downstream = self._start_downstream(bridge)
        except DownstreamRefused as error:
            bridge.failure_reason = str(error)
            self._settle(bridge, "failed")
            return
        depend = bridge.spec.downstream is not None and bridge.spec.downstream.depend
        if not depend:
            self._settle(bridge, "success")
        elif not bridge.complete:
            bridge.status = "running"

    def _follow(self, bridge: Job, downstream: Pipeline, before: str) -> None:
        if downstream.status == before or bridge.status not in ("created", "pending", "running", "canceling"):
            return
        if downstream.status in statuses.COMPLETE:
            self._end(bridge, "success" if downstream.status == "skipped" else downstream.status)

    def _wake_upstream(self, pipeline: Pipeline) -> None:
        """Let a bridge that depends on a pipeline follow it again, because it runs again."""
        bridge = pipeline.upstream
        if bridge is None or bridge.retried or not bridge.complete or not pipeline.depended_on:
            return
        bridge.status, bridge.finished_at, bridge.failure_reason = "running", None, None
        self._reset_skipped(bridge.pipeline, [bridge])
        self._wake_upstream(bridge.pipeline)
        self._advance(bridge.pipeline)

    # Ends

    def _finish(self, job: Job, outcome: Outcome) -> None:
        job.exit_code = outcome.exit_code
        job.artifacts = {stored.file_type: stored for stored in outcome.artifacts}
        if job.artifacts and job.spec.artifacts is not None and job.spec.artifacts.expire_in is not None:
            job.artifacts_expire_at = now() + timedelta(seconds=job.spec.artifacts.expire_in)
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
        self._settle(job, status)
        if again:
            self._enqueue(self._clone(job, job.user))
        self._advance(job.pipeline)

    def _settle(self, job: Job, status: str) -> None:
        """Give a job its last status, and what it held to the next one."""
        job.status, job.finished_at = status, now()
        following = self._resources.next_after(job)
        if following is not None and not self._closed:
            self._enqueue(following)
            if following.pipeline is not job.pipeline:
                self._advance(following.pipeline)

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
                self._wake_upstream(pipeline)
            self._advance(pipeline)

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
            self._wake_upstream(job.pipeline)
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
            self._wake_upstream(job.pipeline)
            self._advance(job.pipeline)

    def cancel_pipeline(self, pipeline: Pipeline) -> None:
        """Cancel what is not finished, child pipelines included; a finished pipeline stays as it is."""
        with self.store.lock:
            for job in pipeline.latest():
                self._cancel(job)
                if job.downstream is not None and job.downstream.source == "parent_pipeline":
                    self.cancel_pipeline(job.downstream)
            self._advance(pipeline)

    def cancel_job(self, job: Job, *, force: bool = False) -> None:
        """Cancel one job; ``force`` ends it at once even when it is stuck in ``canceling``."""
        with self.store.lock:
            self._cancel(job)
            if force and job.status == "canceling":
                job.forced.set()
                self._settle(job, "canceled")
            self._advance(job.pipeline)

    def _cancel(self, job: Job) -> None:
        started = job.status not in statuses.JOB_STATUSES or job.status in ("running", "canceling")
        if started and not job.is_bridge:
            job.status = "canceling"
            job.cancelled.set()
        elif not job.complete:
            self._settle(job, "canceled")

    def close(self) -> None:
        """Cancel everything, wait for the job threads, start nothing any more."""
        with self.store.lock:
            self._closed = True
            for job in self.store.jobs.values():
                if not job.complete:
                    job.cancelled.set()
                    job.forced.set()
        self._runners.close()
