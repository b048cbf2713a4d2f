"""Base of every operator whose work is a job in another system."""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, NoReturn

from airflow_provider_mlops import config
from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator, at_boundary
from airflow_provider_mlops.compat import (
    AIRFLOW_3,
    AirflowTaskTimeout,
    BaseOperatorLink,
    Context,
    conf,
    get_current_context,
    task_state,
)
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job import registry
from airflow_provider_mlops.external_job.adapter import JobAdapter, JobHandle, JobState, Json
from airflow_provider_mlops.external_job.attempt import Attempt, attempt_of, job_timeout
from airflow_provider_mlops.external_job.decision import may_cancel
from airflow_provider_mlops.external_job.engine import Engine, Outcome, Waited
from airflow_provider_mlops.external_job.errors import AttemptEnded, TriggerBroken
from airflow_provider_mlops.external_job.events import JobEvent
from airflow_provider_mlops.external_job.killing import Live, cancel_now
from airflow_provider_mlops.external_job.links import URL_KEY, RemoteJobLink
from airflow_provider_mlops.external_job.note import NOTE_KEY, Note
from airflow_provider_mlops.external_job.pacing import Pace, until
from airflow_provider_mlops.external_job.portal import Portal, WallClock
from airflow_provider_mlops.external_job.remote import name_of
from airflow_provider_mlops.external_job.store import TaskMemory
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from airflow_provider_mlops.payloads import SCHEMA

#: Airflow's own trigger timeout is only the backstop behind the deadline that the trigger watches.
_BACKSTOP = 60.0
#: How often a failing trigger is replaced within one attempt.
_REDEFERRALS = 3


class ExternalJobOperator(MlopsOperator):
    """Run a job in another system and wait for it: once, however often Airflow starts over.

    A worker, triggerer or scheduler that dies at any moment causes no second job where the remote keeps
    our key: the retry finds the first one and goes on with it. Clearing the task starts a new job.
    Subclasses implement :meth:`adapter`, and :meth:`payload` where the default does not fit.

    :param wait_for_completion: ``False``: return as soon as the job is submitted.
    :param deferrable: wait in the triggerer instead of holding a worker slot
        (default: ``[operators] default_deferrable``).
    :param poll_interval: seconds between two looks at a job (default: ``[mlops] poll_interval``).
    :param timeout: how long one remote job may take from its submission, as timedelta or seconds;
        ``execution_timeout`` counts too, deferred or not. ``None``: no limit of its own.
    :param cancel_on_kill: cancel the job when a person ends the task. It never is at a deploy, an
        eviction or a lost heartbeat.
    :param cancel_on_timeout: cancel the job when its time is over.
    :param exactly_once: ``"required"`` fails before any effect where the remote cannot keep our key.
    """

    template_fields: Sequence[str] = ()
    operator_extra_links: tuple[BaseOperatorLink, ...] = (RemoteJobLink(),)

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: timedelta | float | None = None,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        exactly_once: Literal["best_effort", "required"] = "best_effort",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.exactly_once = exactly_once
        self._live: Live | None = None
        self._exchanging = False
        self._kill_waits = False
        self._killing = False

    # --- for subclasses ------------------------------------------------------------------------------

    @abstractmethod
    def adapter(self, context: Context) -> JobAdapter:
        """The remote job, from the rendered arguments. Validates them; has no effect on the remote.

        :raises InvalidArgument: an argument is wrong.
        """

    def payload(
        self, context: Context, *, state: JobState, handle: JobHandle, result: Mapping[str, Json] | None
    ) -> dict[str, Any]:
        """What the task returns.

        :param result: the adapter's result; ``None`` with ``wait_for_completion=False`` (unless the job had
            already ended).
        """
        assert self._live is not None
        return {
            **(result or {}),
            "schema": SCHEMA,
            "kind": self._live.adapter.kind,
            "state": state.value,
            "url": handle.url,
        }

    def links(self, handle: JobHandle) -> dict[str, str]:
        """XCom key to the URL that an extra link shows, pushed as soon as the job is known."""
        return {URL_KEY: handle.url} if handle.url else {}

    # --- what Airflow calls --------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Submit or find the job, and wait for it or defer."""
        self._check_arguments()
        with self._exchange():
            adapter = self.adapter(context)
        registry.check(adapter)
        attempt = self._attempt(context)
        with self._alive(context, adapter, attempt) as live:
            return self._conclude(live, live.portal.run(lambda: self._begin(live)))

    def resume(self, context: Context, event: Any) -> Any:
        """Called with the trigger's event."""
        return self._resume(context, JobEvent.from_json(event))

    @at_boundary
    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Called by Airflow when a deferred task goes on, also when its trigger timed out or crashed."""
        if next_method != "__fail__":
            return super().resume_execution(next_method, next_kwargs, context)
        note = self._note(context)
        if note is None:
            return super().resume_execution(next_method, next_kwargs, context)
        why = next_kwargs or {}
        if trace := why.get("traceback"):
            self.log.warning("The trigger failed:\n%s", "\n".join(trace))
        return self._resume(
            context, JobEvent("failed", note.handle, message=str(why.get("error", "unknown")))
        )

    def on_kill(self) -> None:
        """Cancel the job if a person ended the task or its time is over; else leave it to the next attempt."""
        timed_out = isinstance(sys.exception(), AirflowTaskTimeout)
        if self._exchanging and AIRFLOW_3 and not timed_out:
            # A second question to the supervisor now would deadlock or swap answers: do it right after.
            self._kill_waits = True
            return
        if not self._killing:
            self._killing = True
            try:
                self._kill(timed_out)
            except Exception as error:  # noqa: BLE001 - whatever it is, the attempt has to end now
                self.log.warning("Cancelling the remote job was not completed: %s", error)
        if AIRFLOW_3 and not timed_out:
            raise AttemptEnded("Airflow ended this attempt")

    # --- one attempt ---------------------------------------------------------------------------------

    async def _begin(self, live: Live) -> tuple[Waited, Mapping[str, Json] | None]:
        """Submit or adopt; then wait, look once, or leave. With a result if the job has been concluded."""
        async with live.adapter.session(live.connections) as session:
            engine = self._engine(live, session)
            memory = self._memory(live)
            started = await engine.start(live.attempt, memory, lambda handle: self._publish(live, handle))
            if started.result is not None:
                return Waited(Outcome.ENDED, started.handle, None), started.result
            if not self.wait_for_completion:
                return Waited(Outcome.ACTIVE, started.handle, started.status), None
            waited = await engine.wait(
                live.attempt,
                started.handle,
                cursor=started.cursor,
                status=started.status,
                once=self.deferrable,
            )
            return await self._end(live, engine, memory, waited)

    async def _end(
        self, live: Live, engine: Engine, memory: TaskMemory, waited: Waited
    ) -> tuple[Waited, Mapping[str, Json] | None]:
        live.handle = waited.handle
        match waited.outcome:
            case Outcome.ACTIVE:
                return waited, None
            case Outcome.DEADLINE:
                return waited, await engine.give_up(
                    live.attempt, memory, waited, cancel=self.cancel_on_timeout
                )
            case _:
                return waited, await engine.finish(live.attempt, memory, waited)

    def _conclude(self, live: Live, ended: tuple[Waited, Mapping[str, Json] | None]) -> Any:
        waited, result = ended
        if result is None and self.wait_for_completion:
            self._defer(live, waited)
        state = waited.status.state if waited.status else JobState.PENDING
        if result is not None:
            state = JobState.SUCCEEDED
        return self.payload(live.context, state=state, handle=waited.handle, result=result)

    def _resume(self, context: Context, event: JobEvent) -> Any:
        note = self._note(context)
        with self._exchange():
            adapter = registry.rebuild(note.kind, dict(note.adapter)) if note else self.adapter(context)
        attempt = note.attempt if note else self._attempt(context)
        redeferrals = note.redeferrals if note else 0
        with self._alive(context, adapter, attempt) as live:
            live.handle = event.handle
            live.redeferrals = redeferrals + 1
            ended = live.portal.run(lambda: self._look(live, event))
            if ended[1] is None:
                if redeferrals >= _REDEFERRALS:
                    raise TriggerBroken(
                        f"{adapter.kind}: its trigger stopped {redeferrals + 1} times while the job went on"
                        + (f"; last: {event.message}" if event.message else ""),
                        url=event.handle.url,
                    )
                self.log.info(
                    "The job goes on (the trigger said %s %s): deferring again", event.status, event.message
                )
                with self._exchange():
                    self._push_note(live)
            return self._conclude(live, ended)

    async def _look(self, live: Live, event: JobEvent) -> tuple[Waited, Mapping[str, Json] | None]:
        """The event only woke the task: the remote is asked what has become of the job."""
        async with live.adapter.session(live.connections) as session:
            engine = self._engine(live, session)
            waited = await engine.wait(live.attempt, event.handle, cursor=event.cursor, once=True)
            if waited.status is None and event.status == Outcome.LOST.value:
                waited = replace(waited, outcome=Outcome.LOST)
            return await self._end(live, engine, self._memory(live), waited)

    def _defer(self, live: Live, waited: Waited) -> NoReturn:
        handle = waited.handle
        left = until(handle.deadline, time.time())
        self.defer(
            trigger=ExternalJobTrigger(
                kind=live.adapter.kind,
                home=registry.foreign_home(live.adapter.kind),
                adapter=dict(live.adapter.to_json()),
                handle=handle.to_json(),
                attempt=live.attempt.to_json(),
                cursor=waited.cursor,
                poll_interval=self.poll_interval,
                cancel_on_kill=self.cancel_on_kill,
            ),
            method_name="resume",
            timeout=timedelta(seconds=left + _BACKSTOP) if handle.deadline is not None else None,
        )
        raise AssertionError("defer returned")

    # --- helpers -------------------------------------------------------------------------------------

    def _check_arguments(self) -> None:
        if self.exactly_once not in ("best_effort", "required"):
            raise InvalidArgument(
                f"exactly_once is {self.exactly_once!r}", next_step="Use 'best_effort' or 'required'."
            )
        limit = job_timeout(self.timeout)
        if limit is not None and limit <= timedelta(0):
            raise InvalidArgument(f"timeout is {limit}", next_step="Give a positive duration, or None.")
        if self.poll_interval is not None and self.poll_interval <= 0:
            raise InvalidArgument(
                f"poll_interval is {self.poll_interval}", next_step="Give seconds above zero."
            )

    def _attempt(self, context: Context) -> Attempt:
        return attempt_of(
            context,
            namespace=config.namespace(),
            timeout=job_timeout(self.timeout, self.execution_timeout),
            required=self.exactly_once == "required",
            run_ids_repeat=not AIRFLOW_3,
        )

    @contextmanager
    def _alive(self, context: Context, adapter: JobAdapter, attempt: Attempt) -> Iterator[Live]:
        """The span in which ``on_kill`` can act: connections read, a loop at hand."""
        with self._exchange():
            connections = {conn_id: connection_info(conn_id) for conn_id in adapter.conn_ids}
        portal = Portal()
        live = Live(context, adapter, connections, attempt, portal)
        try:
            with portal:
                self._live = live
                yield live
        finally:
            # Airflow calls on_kill after a timeout has left this block, and only then.
            if not isinstance(sys.exception(), AirflowTaskTimeout):
                self._live = None

    def _engine(self, live: Live, session: Any) -> Engine:
        interval = timedelta(seconds=self.poll_interval) if self.poll_interval else config.poll_interval()
        return Engine(
            session,
            live.adapter.kind,
            WallClock(),
            Pace(interval, config.error_budget(), config.retry_after_cap()),
            live.adapter.settle_time,
            say=lambda text: self.log.info("%s", text),
            line=lambda text: self.log.info("%s", text),
        )

    def _memory(self, live: Live) -> TaskMemory:
        return TaskMemory(live.context, live.attempt.key.slot, self._airflow_calls(live))

    def _airflow_calls(self, live: Live) -> Callable[[Callable[[], Any]], Awaitable[Any]]:
        def bracketed(call: Callable[[], Any]) -> Any:
            with self._exchange():
                return call()

        async def in_main_thread(call: Callable[[], Any]) -> Any:
            return await live.portal.in_main_thread(lambda: bracketed(call))

        return in_main_thread

    async def _publish(self, live: Live, handle: JobHandle) -> None:
        """Make the job known while it runs: for a resume, for on_kill, for the link in the UI."""
        live.handle = handle

        def push() -> None:
            self._push_note(live)
            for key, url in self.links(handle).items():
                live.context["ti"].xcom_push(key=key, value=url)

        await self._airflow_calls(live)(push)

    def _push_note(self, live: Live) -> None:
        assert live.handle is not None
        note = Note(live.adapter.kind, live.adapter.to_json(), live.handle, live.attempt, live.redeferrals)
        live.context["ti"].xcom_push(key=NOTE_KEY, value=note.to_json())

    def _note(self, context: Context) -> Note | None:
        ti = context["ti"]
        with self._exchange():
            data = ti.xcom_pull(task_ids=ti.task_id, key=NOTE_KEY, map_indexes=ti.map_index)
        return Note.from_json(data) if isinstance(data, Mapping) else None

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """Bracket of every call to Airflow; a kill that came meanwhile is carried out at its end."""
        self._exchanging = True
        try:
            yield
        finally:
            self._exchanging = False
        if self._kill_waits:
            self._kill_waits = False
            self.on_kill()

    def _kill(self, timed_out: bool) -> None:
        live = self._live or self._fresh_live(timed_out)
        if live is None or (timed_out and live.handle is None):
            self.log.info("No remote job is known to this attempt")
            return
        if not (self.cancel_on_timeout if timed_out else self.cancel_on_kill):
            self.log.info("The remote job goes on, as asked")
            return
        if not timed_out:
            key = live.attempt.key
            state = task_state(key.dag_id, key.run_id, key.task_id, key.map_index)
            if not may_cancel(state):
                self.log.info("The task is %s: the remote job goes on, the next attempt finds it", state)
                return
        known = name_of(live.handle) if live.handle else "that may have been submitted"
        self.log.info("Cancelling the remote job %s", known)
        cancel_now(live, unwanted=not timed_out)

    def _fresh_live(self, timed_out: bool) -> Live | None:
        """In a process that has not run the task: 2.11 enforces execution_timeout on a deferred task there.

        On 3.x Airflow may be in the middle of an exchange of its own outside of ``execute``: nothing is asked.
        """
        if AIRFLOW_3 and not timed_out:
            return None
        context = get_current_context()
        note = self._note(context)
        if note is None:
            return None
        adapter = registry.rebuild(note.kind, dict(note.adapter))
        connections = {conn_id: connection_info(conn_id) for conn_id in adapter.conn_ids}
        return Live(context, adapter, connections, note.attempt, Portal(), note.handle)
