"""A worker that is a process of its own: it ends by SIGKILL, and stands still by SIGSTOP."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.external_job import operators
from tests.campaign.airflow_side import ACTOR, CampaignOperator, Ended, fast_log_reader, outcome_of
from tests.campaign.fast_time import FastClock, FastPolicy
from tests.campaign.life import Life

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.campaign.real_worker"])


@dataclass(eq=False)
class RealLife(Life):
    """The life of a real process: what it has sent goes on its way whatever becomes of it."""

    number: int = 0

    def kill(self) -> None:
        self.died.set()
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self.frozen.set()
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.number:
            os.kill(self.number, number)


@dataclass
class _Log:
    """The operator's log, written through a pipe."""

    pipe: Connection

    def info(self, text: str, *values: Any, **_: Any) -> None:
        self.pipe.send(("line", text % values if values else text))

    debug = warning = error = exception = info


@dataclass
class Order:
    """What a worker process is told: all of it JSON."""

    arguments: dict[str, Any]
    connection: dict[str, Any]
    ti: dict[str, Any]
    dag_run: Any
    store: dict[str, Any] | None
    resume: tuple[str, Any] | None
    clock_start: float
    xcom: dict[str, Any] = field(default_factory=dict)


def _child(pipe: Connection, order: Order) -> None:
    # The parent may have left the server's own signals in place.
    asyncio.set_event_loop_policy(FastPolicy())
    # Reading it through Airflow would import its database layer into every one of these processes.
    connection = ConnectionInfo(order.arguments["gitlab_conn_id"], **order.connection)
    ACTOR.set(_Log(pipe))  # type: ignore[arg-type]

    def push(key: str, value: Any) -> None:
        order.xcom[key] = json.loads(json.dumps(value))
        pipe.send(("xcom", key, order.xcom[key]))

    def keep(key: str, value: Any) -> None:
        pipe.send(("store", key, value))

    ti = SimpleNamespace(**order.ti, xcom_push=push, xcom_pull=lambda **asked: order.xcom.get(asked["key"]))
    context: dict[str, Any] = {"ti": ti, "dag_run": order.dag_run}
    if order.store is not None:
        context["task_state_store"] = SimpleNamespace(get=order.store.get, set=keep)
    operator = CampaignOperator(task_id="publish", **order.arguments)
    with (
        patch.object(operators, "WallClock", lambda: FastClock(order.clock_start)),
        patch.object(operators, "connection_info", lambda _: connection),
        fast_log_reader(),
    ):
        pipe.send(("ready",))
        pipe.send(("ended", outcome_of(operator, context, order.resume)))


def run_process(
    life: RealLife, order: Order, context: Any, say: Callable[[str], None], ready: Callable[[], None]
) -> Ended:
    """Start the process and follow it to its end, in a thread.

    :param say: gets its log lines.
    :param ready: called when it begins.
    """
    ours, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_child, args=(theirs, order), daemon=True)
    process.start()
    theirs.close()
    assert process.pid is not None
    life.number = process.pid
    ended = Ended("killed")
    try:
        while True:
            match ours.recv():
                case ("ready",):
                    ready()
                case ("line", text):
                    say(text)
                case ("xcom", key, value):
                    context["ti"].xcom_push(key, value)
                case ("store", key, value):
                    context["task_state_store"].set(key, value)
                case ("ended", ended):
                    pass
    except (EOFError, ConnectionError):
        pass
    life.number = 0
    process.join()
    process.close()
    return ended
