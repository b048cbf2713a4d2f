"""Base of the sensors that wait for a job that somebody else started."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

from airflow_provider_mlops import config
from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import at_boundary
from airflow_provider_mlops.compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
    PokeReturnValue,
    conf,
)
from airflow_provider_mlops.errors import JobLost
from airflow_provider_mlops.external_job import registry
from airflow_provider_mlops.external_job.adapter import JobAdapter, JobHandle, JobState, Json
from airflow_provider_mlops.external_job.engine import Engine
from airflow_provider_mlops.external_job.errors import TriggerBroken
from airflow_provider_mlops.external_job.events import JobEvent
from airflow_provider_mlops.external_job.links import URL_KEY, RemoteJobLink
from airflow_provider_mlops.external_job.pacing import Pace, until
from airflow_provider_mlops.external_job.portal import Portal, WallClock
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from airflow_provider_mlops.payloads import SCHEMA

#: Airflow's own trigger timeout is only the backstop behind the deadline that the trigger watches.
_BACKSTOP = 60.0


class ExternalJobSensor(BaseSensorOperator):
    """Wait for a remote job that another task or system started, and return its payload.

    Never cancels or restarts the job. A job that failed fails the sensor with the adapter's typed error.
    Subclasses implement :meth:`adapter` and :meth:`handle`.

    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``).
    :param poke_interval: seconds between two looks, as in every sensor.
    :param timeout: seconds after which the sensor gives up, as in every sensor.
    """

    template_fields: Sequence[str] = ()
    operator_extra_links = (RemoteJobLink(),)

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    @abstractmethod
    def adapter(self, context: Context) -> JobAdapter:
        """The kind of job, from the rendered arguments; only its session is used.

        :raises InvalidArgument: an argument is wrong.
        """

    @abstractmethod
    def handle(self, context: Context) -> JobHandle:
        """Which job to wait for.

        :raises InvalidArgument: an argument is wrong.
        """

    def payload(
        self, context: Context, *, state: JobState, handle: JobHandle, result: Mapping[str, Json]
    ) -> dict[str, Any]:
        """What the task returns."""
        return {
            **result,
            "schema": SCHEMA,
            "kind": self.adapter(context).kind,
            "state": state.value,
            "url": handle.url,
        }

    @at_boundary
    def execute(self, context: Context) -> Any:
        """Look once; then wait as asked."""
        if not self.deferrable:
            return super().execute(context)
        handle = self.handle(context)
        if handle.url:
            context["ti"].xcom_push(key=URL_KEY, value=handle.url)
        seen = self.poke(context)
        if seen.is_done:
            return seen.xcom_value
        self._defer(context, replace(handle, deadline=time.time() + float(self.timeout)))

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask for the job's state once.

        :raises JobLost: there is no such job any more.
        """
        adapter, handle = self.adapter(context), self.handle(context)
        connections = {conn_id: connection_info(conn_id) for conn_id in adapter.conn_ids}

        async def look() -> tuple[JobState, Mapping[str, Json]] | None:
            async with adapter.session(connections) as session:
                pace = Pace(self._interval(), config.error_budget(), config.retry_after_cap())
                engine = Engine(
                    session, adapter.kind, WallClock(), pace, say=lambda text: self.log.info("%s", text)
                )
                waited = await engine.wait(None, replace(handle, deadline=None), once=True)
                status = waited.status
                if status is None:
                    raise JobLost(f"{adapter.kind}: the job has vanished", url=handle.url)
                if status.state is JobState.SUCCEEDED:
                    return status.state, await session.result(handle)
                if status.state.active:
                    return None
                raise await session.failure(handle, status)

        with Portal() as portal:
            seen = portal.run(look)
        if seen is None:
            return PokeReturnValue(is_done=False)
        state, result = seen
        return PokeReturnValue(
            is_done=True, xcom_value=self.payload(context, state=state, handle=handle, result=result)
        )

    def resume(self, context: Context, event: Any) -> Any:
        """Called with the trigger's event."""
        wake = JobEvent.from_json(event)
        seen = self.poke(context)
        if seen.is_done:
            return seen.xcom_value
        if until(wake.handle.deadline, time.time()) <= 0:
            if self.soft_fail:
                raise AirflowSkipException("The job did not end in time")
            raise AirflowSensorTimeout("The job did not end in time")
        if wake.status == "failed":
            raise TriggerBroken(f"{self.adapter(context).kind}: {wake.message}", url=wake.handle.url)
        self._defer(context, wake.handle)

    @at_boundary
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Called by Airflow when the deferred sensor goes on."""
        return super().resume_execution(next_method, next_kwargs, context)

    def _interval(self) -> timedelta:
        return timedelta(seconds=self.poke_interval)

    def _defer(self, context: Context, handle: JobHandle) -> NoReturn:
        adapter = self.adapter(context)
        self.defer(
            trigger=ExternalJobTrigger(
                kind=adapter.kind,
                home=registry.foreign_home(adapter.kind),
                adapter=dict(adapter.to_json()),
                handle=handle.to_json(),
                poll_interval=self._interval().total_seconds(),
            ),
            method_name="resume",
            timeout=timedelta(seconds=until(handle.deadline, time.time()) + _BACKSTOP),
        )
        raise AssertionError("defer returned")
