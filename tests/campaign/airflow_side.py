"""What a worker and a triggerer do with the operator, in this process, under a :class:`Life`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Self
from unittest.mock import patch

from airflow_provider_mlops.compat import AirflowFailException, TaskDeferred
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.external_job import operators, triggers
from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger
from airflow_provider_mlops.gitlab import log_reader
from airflow_provider_mlops.gitlab.operators.trigger import GitlabTriggerOperator
from tests.campaign.fast_time import FastClock, fast_monotonic
from tests.campaign.life import Killed, Life

ACTOR: ContextVar[Actor] = ContextVar("actor")


@dataclass(frozen=True)
class Ended:
    """How a process ended: ``returned``, ``deferred``, ``raised`` or ``killed``."""

    how: str
    payload: Any = None
    row: dict[str, Any] | None = None
    method: str = ""
    error: str = ""
    permanent: bool = False


@dataclass(eq=False)
class Actor:
    """One process of Airflow: a worker, or a trigger in a triggerer of its own."""

    name: str
    life: Life
    clock: FastClock
    loop: asyncio.AbstractEventLoop
    connection: ConnectionInfo
    task_state: Callable[[], str | None]
    lines: list[str] = field(default_factory=list)
    operator: GitlabTriggerOperator | None = None

    def info(self, text: str, *values: Any, **_: Any) -> None:
        if not self.life.dead:
            self.lines.append(text % values if values else text)

    debug = warning = error = exception = info


class SharedLoopPortal:
    """Stands for :class:`Portal`: runs the engine's coroutines on the campaign's loop, as the current actor."""

    def __init__(self) -> None:
        self._actor = ACTOR.get()
        self.open = False

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False

    def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async def led() -> Any:
            return await self._actor.life.lead(call())  # type: ignore[arg-type]

        return asyncio.run_coroutine_threadsafe(led(), self._actor.loop).result()

    def run_briefly(self, call: Callable[[], Awaitable[Any]], seconds: float) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(seconds):
                return await call()

        return asyncio.run_coroutine_threadsafe(bounded(), self._actor.loop).result()

    async def in_main_thread(self, call: Callable[[], Any]) -> Any:
        await self._actor.life.moving()
        self._actor.life.check()
        return call()


class CampaignOperator(GitlabTriggerOperator):
    """The operator, with the actor's log."""

    @property
    def log(self) -> Any:
        return ACTOR.get()


class CampaignTrigger(ExternalJobTrigger):
    """The trigger, with the actor's log."""

    @property
    def log(self) -> Any:
        return ACTOR.get()


@contextmanager
def airflow() -> Iterator[None]:
    """Let operators and triggers find the actor instead of Airflow's services."""

    async def aconnection(conn_id: str) -> ConnectionInfo:
        return CONNECTIONS[conn_id]

    async def astate(*_: Any) -> str | None:
        return ACTOR.get().task_state()

    with (
        patch.object(operators, "Portal", SharedLoopPortal),
        patch.object(operators, "WallClock", lambda: ACTOR.get().clock),
        patch.object(triggers, "WallClock", lambda: ACTOR.get().clock),
        patch.object(operators, "connection_info", CONNECTIONS.__getitem__),
        patch.object(triggers, "aconnection_info", aconnection),
        patch.object(operators, "task_state", lambda *_: ACTOR.get().task_state()),
        patch.object(triggers, "atask_state", astate),
        fast_log_reader(),
    ):
        yield


def fast_log_reader() -> AbstractContextManager[Any]:
    """The reader of logs keeps time by a clock of its own."""
    return patch.dict(log_reader.LogReader.__init__.__kwdefaults__, now=fast_monotonic)


#: By connection id; each process has one of its own, behind its own listener of the proxy.
CONNECTIONS: dict[str, ConnectionInfo] = {}


def work(actor: Actor, arguments: dict[str, Any], context: Any, resume: tuple[str, Any] | None) -> Ended:
    """One worker process, in a thread: ``execute``, or what follows a trigger's event."""
    ACTOR.set(actor)
    actor.operator = operator = CampaignOperator(task_id="publish", **arguments)
    try:
        ended = outcome_of(operator, context, resume)
    except Killed:
        return Ended("killed")
    return Ended("killed") if actor.life.dead else ended


def outcome_of(operator: GitlabTriggerOperator, context: Any, resume: tuple[str, Any] | None) -> Ended:
    """Run an attempt, or what follows its trigger's event."""
    try:
        if resume is None:
            payload = operator.execute(context)
        else:
            payload = operator.resume_execution(resume[0], {"event": resume[1]}, context)
    except TaskDeferred as deferred:
        row = json.loads(json.dumps(deferred.trigger.serialize()[1]))
        return Ended("deferred", row=row, method=deferred.method_name)
    except Exception as error:  # noqa: BLE001 - whatever Airflow would see
        permanent = isinstance(error, AirflowFailException)
        return Ended("raised", error=f"{type(error).__name__}: {error}", permanent=permanent)
    return Ended("returned", json.loads(json.dumps(payload)))


def end_worker(actor: Actor) -> None:
    """SIGTERM: ``on_kill``, in another thread than the operator's, then the end."""
    ACTOR.set(actor)
    try:
        if actor.operator is not None:
            actor.operator.on_kill()
    except Exception as error:  # noqa: BLE001 - AttemptEnded, as it has to
        actor.info("on_kill: %s", error)


async def watch(actor: Actor, row: dict[str, Any]) -> Any:
    """One trigger: its event, or ``None`` if it was killed."""
    ACTOR.set(actor)
    trigger = CampaignTrigger(**row)

    async def first() -> Any:
        (event,) = [event.payload async for event in trigger.run()]
        return event

    try:
        return json.loads(json.dumps(await actor.life.lead(first())))
    except Killed:
        return None


async def end_trigger(actor: Actor, row: dict[str, Any]) -> None:
    """A person ended the task while it was deferred: Airflow 3.3 tells the trigger."""
    ACTOR.set(actor)
    await CampaignTrigger(**row).on_kill()
