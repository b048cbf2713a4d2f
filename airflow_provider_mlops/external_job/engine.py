"""Submit or adopt, wait, finish, cancel: one engine for every remote system.

Plain coroutines over a :class:`JobSession`; clock, memory and log are handed in, so the same code runs
in a worker (on a portal thread), in a triggerer and, step by step, in the model test. What to do is
decided in :mod:`decision`; :mod:`starting`, :mod:`waiting` and :mod:`finishing` ask and act. The promise: never two jobs left for one
slot, and never two made where the remote refuses a duplicate name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_mlops.external_job.adapter import JobHandle, JobStatus, Json
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import Memory
from airflow_provider_mlops.external_job.finishing import finish_attempt, give_up
from airflow_provider_mlops.external_job.remote import Remote
from airflow_provider_mlops.external_job.starting import OnHandle, Started, start_attempt
from airflow_provider_mlops.external_job.waiting import Group, Outcome, Waited, follow_job

__all__ = ["Engine", "Outcome", "Started", "Waited"]


@dataclass(slots=True)
class Engine(Remote):
    """Runs one attempt against one open session."""

    async def start(self, attempt: Attempt, memory: Memory, on_handle: OnHandle | None = None) -> Started:
        """Find the job of this attempt, or submit it; see :func:`starting.start_attempt`."""
        return await start_attempt(self, attempt, memory, on_handle)

    async def wait(
        self,
        attempt: Attempt | None,
        handle: JobHandle,
        *,
        cursor: Json = None,
        status: JobStatus | None = None,
        group: Group | None = None,
        once: bool = False,
        leave_end: bool = False,
    ) -> Waited:
        """Follow the job until it ends, vanishes or meets its deadline; see :func:`waiting.follow_job`."""
        return await follow_job(
            self, attempt, handle, cursor=cursor, status=status, group=group, once=once, leave_end=leave_end
        )

    async def finish(self, attempt: Attempt, memory: Memory, waited: Waited) -> Mapping[str, Json]:
        """Collect the result, or raise the failure; see :func:`finishing.finish_attempt`."""
        return await finish_attempt(self, attempt, memory, waited)

    async def give_up(
        self, attempt: Attempt, memory: Memory, waited: Waited, *, cancel: bool
    ) -> Mapping[str, Json]:
        """At the deadline; see :func:`finishing.give_up`."""
        return await give_up(self, attempt, memory, waited, cancel=cancel)
