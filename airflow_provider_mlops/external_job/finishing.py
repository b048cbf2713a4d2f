"""What follows the end of a job, or its deadline: persist the outcome, tidy up, return or raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from airflow_provider_mlops.errors import DeadlineExceeded, JobLost
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState, Json, Releases
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import Memory, Record
from airflow_provider_mlops.external_job.errors import AttemptSuperseded
from airflow_provider_mlops.external_job.pacing import until
from airflow_provider_mlops.external_job.remote import Remote, name_of
from airflow_provider_mlops.external_job.waiting import Log, Outcome, Waited

#: How long a cancelled job is watched until it has really ended.
_CANCEL_PATIENCE = 30.0
_CANCEL_LOOKS = 2.0


async def finish_attempt(
    remote: Remote, attempt: Attempt, memory: Memory, waited: Waited
) -> Mapping[str, Json]:
    """Collect the result of a job that has ended, or raise its failure.

    Persists the outcome first where something survives, then cancels duplicates and lets the remote
    free what it keeps.

    :raises JobLost: the job has vanished.
    :raises Exception: the adapter's typed failure.
    """
    handle, status = waited.handle, waited.status
    record = Record(attempt.key.slot, handle.generation, attempt.try_number, handle, cursor=waited.cursor)
    if waited.outcome is Outcome.LOST or status is None:
        await memory.save(replace(record, ended="lost"))
        raise JobLost(
            f"{remote.what}: {name_of(handle)} has vanished",
            next_step="Check who deleted it; the next attempt submits a new one.",
            url=handle.url,
        )
    if status.state is JobState.CANCELLED:
        # Another attempt may have cancelled it as the younger duplicate: the kept one goes on, or has
        # failed meanwhile, which is for the next attempt to judge.
        kept = await remote.recheck(attempt, handle)
        if kept.same_job(handle):
            kept = await remote.failed_beside(attempt, handle) or handle
        if not kept.same_job(handle):
            raise AttemptSuperseded(
                f"{remote.what}: {name_of(handle)} was a duplicate of {name_of(kept)}",
                next_step="Nothing: the next attempt goes on with the one that was kept.",
                url=kept.url,
            )
    failure: Exception | None = None
    result: Mapping[str, Json] = {}
    if status.state is JobState.SUCCEEDED:
        result = await remote.patiently(lambda: remote.session.result(handle), "reading the result")
        await memory.save(replace(record, ended=status.state.value, result=result))
    else:
        failure = await remote.patiently(
            lambda: remote.session.failure(handle, status), "reading the failure"
        )
        await memory.save(replace(record, ended=status.state.value))
    await sweep(remote, attempt, handle)
    if memory.durable and isinstance(remote.session, Releases):
        session = remote.session
        await remote.patiently(lambda: session.release(handle, status), "releasing")
    if failure is not None:
        raise failure
    return result


async def give_up(
    remote: Remote, attempt: Attempt, memory: Memory, waited: Waited, *, cancel: bool
) -> Mapping[str, Json]:
    """At the deadline: cancel the job, or collect it if it has just ended.

    :param cancel: cancel the job; otherwise leave it running.
    :raises DeadlineExceeded: it did not end in time.
    """
    handle = waited.handle
    status = await remote.patiently(lambda: remote.session.status(handle), "asking for the state")
    if status is not None and not status.state.active:
        log = Log(remote, waited.cursor)
        await remote.patiently(lambda: log.follow(handle), "reading the log")
        return await finish_attempt(
            remote, attempt, memory, Waited(Outcome.ENDED, handle, status, log.cursor)
        )
    if cancel:
        await remote.cancel(handle)
        ended = await _see_end(remote, handle)
        await memory.save(
            Record(attempt.key.slot, handle.generation, attempt.try_number, handle, ended=ended)
        )
    raise DeadlineExceeded(
        f"{remote.what}: {name_of(handle)} did not end before its deadline"
        + (" and was cancelled" if cancel else "; it was left running"),
        url=handle.url,
    )


async def _see_end(remote: Remote, handle: JobHandle) -> str | None:
    """Watch a cancelled job until it has ended: an attempt that attached to a dying job would fail for nothing."""
    patience = remote.clock.now() + _CANCEL_PATIENCE
    while True:
        status = await remote.patiently(lambda: remote.session.status(handle), "asking for the state")
        if status is None or not status.state.active:
            return status.state.value if status else "lost"
        if remote.clock.now() >= patience:
            return None
        await remote.clock.sleep(_CANCEL_LOOKS)


async def sweep(remote: Remote, attempt: Attempt, handle: JobHandle) -> None:
    """Cancel what a thawed or cleared worker may have submitted beside the job that has just ended."""
    found = await remote.look(attempt)
    if attempt.try_number > 1:
        own = next((job.created_at.timestamp() for job in found if job.handle.same_job(handle)), None)
        now = remote.clock.now()
        unlisted = until((now if own is None else own) + remote.settle.total_seconds(), now)
        if unlisted:
            # So short a job may be over before the list shows what an earlier attempt submitted meanwhile.
            await remote.clock.sleep(unlisted)
            found = await remote.look(attempt)
    leftovers = [
        job
        for job in found
        if job.status.state.active
        and job.try_number <= attempt.try_number
        and not job.handle.same_job(handle)
    ]
    await remote.cancel_all(leftovers)
