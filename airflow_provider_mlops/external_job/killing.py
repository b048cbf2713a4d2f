"""Cancelling in the few seconds that Airflow leaves to ``on_kill``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.external_job.adapter import JobAdapter, JobHandle, JobSession
from airflow_provider_mlops.external_job.attempt import Attempt
from airflow_provider_mlops.external_job.decision import CLOCK_SKEW, unwanted_beside
from airflow_provider_mlops.external_job.portal import Portal

#: Airflow 3 sends SIGKILL 5 s after SIGTERM.
_KILL_SECONDS = 3.0


@dataclass(slots=True)
class Live:
    """What ``on_kill`` needs, ready beforehand: there is no time to fetch it then."""

    context: Any
    adapter: JobAdapter
    connections: Mapping[str, ConnectionInfo]
    attempt: Attempt
    portal: Portal
    handle: JobHandle | None = None
    redeferrals: int = 0


async def cancel_unwanted(session: JobSession, attempt: Attempt, handle: JobHandle | None) -> None:
    """Cancel what was submitted for a task that a person has ended.

    The known job first: there may be no time for more. Then what else the remote lists of this slot: the
    task may have been ended between a submission and its answer, or while a duplicate still ran.

    :raises MlopsError: the first refusal; the others were tried nevertheless.
    """
    first: MlopsError | None = None

    async def cancel(unwanted: JobHandle) -> None:
        nonlocal first
        try:
            await session.cancel(unwanted)
        except MlopsError as error:
            first = first or error

    if handle is not None:
        await cancel(handle)
    found = await session.find(attempt.key, attempt.run_started - CLOCK_SKEW)
    for job in unwanted_beside(handle, attempt.key, found, attempt.try_number):
        await cancel(job.handle)
    if first is not None:
        raise first


def cancel_now(live: Live, *, unwanted: bool) -> None:
    """Cancel from a signal handler.

    :param unwanted: a person ended the task; otherwise only the known job is cancelled.
    :raises TimeoutError: it took too long.
    """

    async def cancel() -> None:
        async with live.adapter.session(live.connections) as session:
            if unwanted:
                await cancel_unwanted(session, live.attempt, live.handle)
            elif live.handle is not None:
                await session.cancel(live.handle)

    if live.portal.open:
        live.portal.run_briefly(cancel, _KILL_SECONDS)
    else:
        with Portal() as portal:
            portal.run_briefly(cancel, _KILL_SECONDS)
