"""Tell whether two worlds are in the same state, so that what follows is tried once only.

A state is what the simulated systems hold and, for each process, where its coroutines stand with which local
values. Times count relative to now: the same moments later are the same state.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from airflow_provider_mlops.external_job.engine import Engine
from tests.unit.external_job.model import (
    JOB_SECONDS,
    NEVER,
    RUN_STARTED,
    Process,
    SimClock,
    SimMemory,
    SimSession,
    World,
)

#: There is one of each per world: what they hold is part of the state already.
SHARED = (Engine, World, SimSession, SimMemory, SimClock)
#: Hundredths of a second: the age at which a job has ended and is listed.
OLD = -round(2 * JOB_SECONDS * 100)


def fingerprint(world: World) -> Hashable:
    """Equal for two worlds of one shape if everything that follows is equal."""
    now = world.now
    return (
        tuple(_process(process, world) for process in world.processes),
        tuple(
            (str(job.key), job.key.epoch, job.try_number, max(OLD, _time(job.created, now)), job.state(now),
             job.cancelled_at is None, job.superseded)
            for job in world.remote.jobs
        ),
        tuple((_in_steps(at, world), _plain(rest, now)) for at, *rest in world.late_kills),
        _plain(world.store, now),
        _plain(world.handles, now),
        _plain(world.trigger_input, now),
        world.try_number, world.retries, world.max_tries, world.state, world.phase, world.person_asked,
    )  # fmt: skip


def _process(process: Process, world: World) -> Hashable:
    now = world.now
    thaws = None if process.frozen_until is None else _in_steps(process.frozen_until, world)
    wakes = max(0, _time(process.wakes, now))
    frames = _frames(process.coroutine, now)
    return process.role, _plain(process.attempt, now), wakes, thaws, process.begun, process.sleeping, frames


def _frames(coroutine: Any, now: float) -> Hashable:
    found = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            found.append((frame.f_code.co_qualname, frame.f_lasti, _plain(frame.f_locals, now)))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return tuple(found)


def _in_steps(at: int, world: World) -> int:
    return min(at - world.steps, NEVER // 2)


def _time(moment: float, now: float) -> int:
    return round((moment - now) * 100)


def _plain(value: Any, now: float) -> Hashable:
    match value:
        case str() | int() | None:
            return value
        case float():
            return _time(value, now) if 1e9 < value < float("inf") else value
        case datetime():
            return "earlier" if value <= RUN_STARTED else max(OLD, _time(value.timestamp(), now))
        case types.FunctionType():
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return value.__qualname__, _plain(cells, now)
        case Mapping():
            return tuple(sorted((str(key), _plain(each, now)) for key, each in value.items()))
        case list() | tuple():
            return tuple(_plain(each, now) for each in value)
    if is_dataclass(value) and not isinstance(value, SHARED):
        inside = tuple(_plain(getattr(value, each.name), now) for each in fields(value))
        return type(value).__name__, inside
    return type(value).__name__
