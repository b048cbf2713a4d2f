"""A small world in which the real engine runs step by step: simulated remotes, a simulated Airflow, a person.

Every call of the engine to the remote or to its memory is one step; between any two steps an accident can
happen. Time is simulated; nothing is random.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow_provider_mlops.errors import (
    MlopsError,
    PermanentError,
    RemoteUnavailable,
    SubmitUncertain,
    TemporaryError,
)
from airflow_provider_mlops.external_job.adapter import (
    FoundJob,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Json,
    Strength,
)
from airflow_provider_mlops.external_job.attempt import Attempt, attempt_of
from airflow_provider_mlops.external_job.decision import Record, may_cancel
from airflow_provider_mlops.external_job.engine import Engine, Outcome, Waited
from airflow_provider_mlops.external_job.killing import cancel_unwanted
from airflow_provider_mlops.external_job.pacing import Pace

RUN_STARTED = datetime(2026, 1, 1, tzinfo=UTC)
JOB_SECONDS = 5.0
LAG, SETTLE = 2.0, 3.0
STEP_SECONDS = 0.1
RETRIES = 6
#: Delay of what comes after everything else is over.
NEVER = 1000


class Violation(AssertionError):
    """A promise was broken."""


class JobBroke(TemporaryError):
    """The simulated job failed."""


class JobWasCancelled(PermanentError):
    """The simulated job was cancelled."""


@types.coroutine
def pause(what: tuple[str, Any]) -> Generator[tuple[str, Any], str, str]:
    """Give control to the world; it answers ``"ok"`` or ``"lost"``."""
    return (yield what)


@dataclass
class SimJob:
    number: int
    key: JobKey
    try_number: int
    created: float
    ends: JobState
    cancelled_at: float | None = None
    #: Older jobs of its slot: while one of them lives or has succeeded, this one does not end by itself,
    #: so that a duplicate which nobody cancels shows.
    seniors: Sequence[SimJob] = ()
    #: From before a Clear: never ends by itself either.
    superseded: bool = False

    @property
    def handle(self) -> JobHandle:
        return JobHandle(self.key.generation, {"number": self.number})

    def state(self, now: float) -> JobState:
        if self.cancelled_at is not None:
            return JobState.CANCELLED
        if self.superseded or now < self.created + JOB_SECONDS:
            return JobState.RUNNING
        if any(senior.state(now) in (JobState.RUNNING, JobState.SUCCEEDED) for senior in self.seniors):
            return JobState.RUNNING
        return self.ends

    def found(self, now: float) -> FoundJob:
        return FoundJob(
            self.handle,
            JobStatus(self.state(now)),
            self.try_number,
            self.key.epoch,
            datetime.fromtimestamp(self.created, UTC),
        )


@dataclass
class SimRemote:
    """``unique`` refuses a duplicate name, ``strong`` and ``lagging`` can be searched, ``none`` cannot."""

    kind: str
    world: World
    jobs: list[SimJob] = field(default_factory=list)

    def of(self, handle: JobHandle) -> SimJob:
        return self.jobs[int(str(handle.ref["number"]))]

    def live(self) -> list[SimJob]:
        return [job for job in self.jobs if job.state(self.world.now).active]

    def create(self, key: JobKey, try_number: int) -> SimJob:
        now = self.world.now
        same = [job for job in self.jobs if str(job.key) == str(key)]
        if self.kind == "unique" and same:
            return same[0]
        before = [
            job for job in self.jobs if job.key.slot == key.slot and job.key.generation == key.generation - 1
        ]
        if key.generation and not any(not job.state(now).active for job in before):
            raise Violation(f"generation {key.generation} while the previous one was not seen to end")
        fails = self.world.first_fails and not self.jobs
        job = SimJob(len(self.jobs), key, try_number, now, JobState.FAILED if fails else JobState.SUCCEEDED)
        if self.kind != "none":
            job.seniors = [other for other in self.jobs if other.key.slot == key.slot]
        self.jobs.append(job)
        return job

    def cancel(self, job: SimJob) -> None:
        now = self.world.now
        if not job.state(now).active:
            return
        others = [
            other
            for other in self.jobs
            if other is not job
            and other.key.slot == job.key.slot
            and other.state(now) in (JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED)
        ]
        if not (self.world.person_asked or job.key.epoch != self.world.max_tries or others):
            raise Violation(f"job {job.number} was cancelled though nobody asked and nothing superseded it")
        job.cancelled_at = now


@dataclass
class SimSession:
    world: World

    async def _call(self, name: str) -> bool:
        return await pause(("call", name)) == "lost"

    async def strength(self, key: JobKey) -> Strength:
        kind = {"unique": Strength.UNIQUE, "none": Strength.NONE}.get(self.world.remote.kind, Strength.KEYED)
        return Strength(kind)

    async def submit(self, key: JobKey, try_number: int) -> JobHandle:
        lost = await self._call("submit")
        job = self.world.remote.create(key, try_number)
        if lost:
            raise SubmitUncertain("the answer was lost")
        return job.handle

    async def find(self, key: JobKey, since: datetime, *, any_epoch: bool = False) -> Sequence[FoundJob]:
        if await self._call("find"):
            raise RemoteUnavailable("the answer was lost")
        remote, now = self.world.remote, self.world.now
        if remote.kind == "none":
            return []
        lag = LAG if remote.kind == "lagging" else 0.0
        return [
            job.found(now)
            for job in reversed(remote.jobs)
            if job.created <= now - lag and (any_epoch or job.key.slot == key.slot)
        ]

    async def status(self, handle: JobHandle) -> JobStatus | None:
        if await self._call("status"):
            raise RemoteUnavailable("the answer was lost")
        return JobStatus(self.world.remote.of(handle).state(self.world.now))

    async def result(self, handle: JobHandle) -> Mapping[str, Json]:
        if await self._call("result"):
            raise RemoteUnavailable("the answer was lost")
        return {"number": self.world.remote.of(handle).number}

    async def failure(self, handle: JobHandle, status: JobStatus) -> Exception:
        return JobWasCancelled("cancelled") if status.state is JobState.CANCELLED else JobBroke("failed")

    async def cancel(self, handle: JobHandle) -> None:
        lost = await self._call("cancel")
        self.world.remote.cancel(self.world.remote.of(handle))
        if lost:
            raise RemoteUnavailable("the answer was lost")


@dataclass
class SimMemory:
    """The task state store of 3.3, or the nothing of earlier versions."""

    world: World
    slot: str
    durable: bool

    async def load(self) -> Record | None:
        if not self.durable:
            return None
        await pause(("call", "load"))
        data = self.world.store.get("record")
        return Record.from_json(data) if data and data["slot"] == self.slot else None

    async def save(self, record: Record) -> None:
        if self.durable:
            await pause(("call", "save"))
            self.world.store["record"] = record.to_json()


@dataclass
class SimClock:
    world: World

    def now(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        await pause(("sleep", seconds))


@dataclass(eq=False)
class Process:
    """One running coroutine: a worker (``start``, ``finish``), a trigger (``wait``) or an on_kill (``kill``)."""

    role: str
    attempt: Attempt
    coroutine: Coroutine[Any, str, Any]
    wakes: float = 0.0
    frozen_until: int | None = None
    begun: bool = False
    sleeping: bool = False


@dataclass(frozen=True)
class Accident:
    """What happens before the main process takes its step number ``at``.

    :param after: for ``freeze`` and late kills: steps of the successor until the thaw or the kill.
    """

    at: int
    kind: str
    after: int = 0


@dataclass
class World:
    """One run: a task with its attempts against one remote, with accidents at given steps."""

    kind: str
    durable: bool = False
    first_fails: bool = False
    accidents: Sequence[Accident] = ()
    attempt_of: Callable[..., Attempt] = attempt_of
    #: Called before every step of the main process in which an accident could happen.
    on_step: Callable[[World], None] | None = None
    now: float = RUN_STARTED.timestamp() + 1
    store: dict[str, Any] = field(default_factory=dict)
    try_number: int = 1
    retries: int = RETRIES
    max_tries: int = RETRIES
    state: str | None = "running"
    phase: str = "start"
    person_asked: bool = False
    result: Mapping[str, Json] | None = None
    error: BaseException | None = None
    steps: int = 0

    def __post_init__(self) -> None:
        self.remote = SimRemote(self.kind, self)
        self.processes: list[Process] = []
        self.late_kills: list[tuple[int, Attempt, JobHandle | None]] = []
        self.handles: dict[int, JobHandle] = {}
        self.trigger_input: Waited | None = None
        self.pending = sorted(self.accidents, key=lambda accident: accident.at)

    # --- Airflow -------------------------------------------------------------------------------------

    def engine(self) -> Engine:
        settle = timedelta(seconds=SETTLE if self.kind == "lagging" else 0)
        return Engine(SimSession(self), "job", SimClock(self), Pace(), settle, random=lambda: 0.5)

    def new_attempt(self) -> None:
        ti = SimpleNamespace(
            dag_id="d",
            run_id="r",
            task_id="t",
            map_index=-1,
            job_id=1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            task=SimpleNamespace(retries=self.retries),
        )
        context = {"ti": ti, "dag_run": SimpleNamespace(start_date=RUN_STARTED, clear_number=0)}
        attempt = self.attempt_of(context, namespace="n", timeout=None, required=False, run_ids_repeat=False)
        self.phase, self.state = "start", "running"
        self.spawn("start", attempt, self.start(attempt))

    def spawn(self, role: str, attempt: Attempt, coroutine: Coroutine[Any, str, Any]) -> None:
        self.processes.append(Process(role, attempt, coroutine, self.now))

    def memory(self, attempt: Attempt) -> SimMemory:
        return SimMemory(self, attempt.key.slot, self.durable)

    async def start(self, attempt: Attempt) -> Waited | Mapping[str, Json]:
        async def known(handle: JobHandle) -> None:
            self.handles[attempt.try_number] = handle
            await pause(("call", "xcom"))

        engine = self.engine()
        started = await engine.start(attempt, self.memory(attempt), known)
        if started.result is not None:
            return started.result
        waited = await engine.wait(attempt, started.handle, status=started.status, once=True)
        if waited.outcome is Outcome.ACTIVE:
            return waited
        return await engine.finish(attempt, self.memory(attempt), waited)

    async def watch(self, attempt: Attempt, waited: Waited) -> Waited:
        return await self.engine().wait(attempt, waited.handle)

    async def finish(self, attempt: Attempt, waited: Waited) -> Waited | Mapping[str, Json]:
        engine = self.engine()
        again = await engine.wait(attempt, waited.handle, once=True)
        if again.outcome is Outcome.ACTIVE:
            return again
        return await engine.finish(attempt, self.memory(attempt), again)

    async def kill(self, attempt: Attempt, handle: JobHandle | None) -> None:
        await pause(("call", "state"))
        if may_cancel(self.state):
            await cancel_unwanted(SimSession(self), attempt, handle)

    # --- running -------------------------------------------------------------------------------------

    def run(self) -> World:
        """Until everything has ended; checks the promises on the way and at the end."""
        self.new_attempt()
        for _ in range(800):
            self.thaw()
            process = self.next_process()
            if process is None:
                if not self.release_the_last():
                    break
                continue
            main = not process.sleeping and self.is_main(process)
            answer = "ok"
            if main and self.on_step is not None:
                self.on_step(self)
            if main and self.pending and self.steps >= self.pending[0].at:
                accident = self.pending.pop(0)
                answer = self.happen(accident, process)
                if process not in self.processes or process.frozen_until is not None:
                    continue
            if main:
                self.steps += 1
            self.step(process, answer)
        else:
            raise Violation("the world does not come to rest")
        self.check()
        return self

    def is_main(self, process: Process) -> bool:
        return (
            process.role == self.phase
            and process.attempt.try_number == self.try_number
            and process is [p for p in self.processes if p.role == self.phase][-1]
            and self.result is None
            and self.error is None
        )

    def next_process(self) -> Process | None:
        awake = [process for process in self.processes if process.frozen_until is None]
        if self.phase == "done" and all(process.role == "watch" for process in awake):
            # Airflow ends the triggers of a task that is over.
            for process in awake:
                self.stop(process)
            awake = []
        if not awake:
            return None
        process = min(awake, key=lambda each: each.wakes)
        self.now = max(self.now, process.wakes)
        return process

    def step(self, process: Process, answer: str) -> None:
        self.now += STEP_SECONDS
        try:
            what, value = process.coroutine.send(None if not process.begun else answer)  # type: ignore[arg-type]
            process.begun = True
            process.sleeping = what == "sleep"
            process.wakes = self.now + (value if process.sleeping else 0.0)
        except StopIteration as stop:
            self.processes.remove(process)
            self.ended(process, stop.value)
        except MlopsError as error:
            self.processes.remove(process)
            self.failed(process, error)

    def current(self, process: Process) -> bool:
        return (
            process.attempt.try_number == self.try_number
            and process.role == self.phase
            and self.state == "running"
        )

    def ended(self, process: Process, value: Any) -> None:
        if not self.current(process):
            return
        if isinstance(value, Waited):
            # A worker defers, a trigger wakes the worker.
            self.trigger_input = value
            self.phase = "finish" if process.role == "watch" else "watch"
            make = self.finish if self.phase == "finish" else self.watch
            self.spawn(self.phase, process.attempt, make(process.attempt, value))
        else:
            self.result, self.state, self.phase = value, "success", "done"

    def failed(self, process: Process, error: MlopsError) -> None:
        if not self.current(process):
            return
        if isinstance(error, PermanentError) or self.try_number > self.max_tries:
            self.error, self.state, self.phase = error, "failed", "done"
        else:
            self.next_try()

    def next_try(self, *, cleared: bool = False) -> None:
        if cleared:
            self.max_tries = self.try_number + self.retries
            for job in self.remote.live():
                # After an edit of retries the epoch may happen to be the same: that looks like a crash.
                job.superseded = self.kind != "none" and job.key.epoch != self.max_tries
        self.try_number += 1
        self.new_attempt()

    def thaw(self) -> None:
        for process in self.processes:
            if process.frozen_until is not None and process.frozen_until <= self.steps:
                process.frozen_until, process.wakes = None, max(process.wakes, self.now)
        for late in [late for late in self.late_kills if late[0] <= self.steps]:
            self.late_kills.remove(late)
            self.spawn("kill", late[1], self.kill(late[1], late[2]))

    def release_the_last(self) -> bool:
        """Whatever is still frozen or late comes back after everything else is over."""
        waiting = bool(self.late_kills or self.processes)
        for process in self.processes:
            process.frozen_until = None
            process.wakes = self.now
        self.late_kills = [(0, attempt, handle) for _, attempt, handle in self.late_kills]
        return waiting

    # --- accidents -----------------------------------------------------------------------------------

    def happen(self, accident: Accident, process: Process) -> str:
        handle = self.handles.get(process.attempt.try_number)
        match accident.kind:
            case "lost":
                return "lost"
            case "edit retries":
                self.retries = 2
            case "crash":
                self.stop(process)
                self.go_on(process)
            case "freeze":
                process.frozen_until = self.steps + accident.after
                self.go_on(process)
            case "deploy":
                # SIGTERM: on_kill runs while the task is still running.
                self.stop(process)
                self.spawn("kill", process.attempt, self.kill(process.attempt, handle))
                self.go_on(process)
            case "late kill":
                self.stop(process)
                self.late_kills.append((self.steps + accident.after, process.attempt, handle))
                self.go_on(process)
            case "mark failed":
                self.person_asked = True
                self.stop(process)
                self.state, self.phase, self.error = "failed", "done", PermanentError("marked failed")
                self.spawn("kill", process.attempt, self.kill(process.attempt, handle))
            case "clear":
                # on_kill comes first and is done before the next try begins.
                self.person_asked = True
                self.stop(process)
                self.state = "restarting"
                self.to_the_end(
                    Process("kill", process.attempt, self.kill(process.attempt, handle), self.now)
                )
                self.next_try(cleared=True)
            case "clear unseen":
                # Nobody can call on_kill: no triggerer alive, or one before 3.3. The process lives on.
                self.person_asked = True
                process.frozen_until = self.steps + accident.after
                self.next_try(cleared=True)
            case "clear on 2.11" if process.role == "watch":
                return self.happen(replace(accident, kind="clear unseen"), process)
            case "clear on 2.11":
                # Same epoch, and on_kill only after the next try has begun.
                self.person_asked = True
                self.stop(process)
                self.late_kills.append((self.steps + accident.after, process.attempt, handle))
                self.next_try()
        return "ok"

    def stop(self, process: Process) -> None:
        process.coroutine.close()
        self.processes.remove(process)

    def to_the_end(self, process: Process) -> None:
        self.processes.append(process)
        while process in self.processes:
            self.now = max(self.now, process.wakes)
            self.step(process, "ok")

    def go_on(self, process: Process) -> None:
        """A lost worker leads to the next try, a lost trigger to another triggerer."""
        if process.role == "watch" and self.trigger_input is not None:
            self.spawn("watch", process.attempt, self.watch(process.attempt, self.trigger_input))
        else:
            self.next_try()

    # --- promises ------------------------------------------------------------------------------------

    def check(self) -> None:
        live = self.remote.live()
        if self.kind in ("unique", "strong") and live and self.state == "success":
            raise Violation(f"jobs are left that nobody waits for: {[job.number for job in live]}")
        # Where the person ended the task before a later attempt could look, each epoch may have left one.
        groups = [job.key.slot if self.state == "failed" else job.key.task_slot for job in live]
        if self.kind != "none" and len(groups) > len(set(groups)):
            raise Violation(f"two live jobs are left: {[job.number for job in live]}")
        if self.kind == "unique":
            names = [str(job.key) for job in self.remote.jobs]
            if len(names) != len(set(names)):
                raise Violation("two jobs of one generation")
        if self.error is not None and not self.person_asked:
            raise Violation(f"the task failed: {self.error!r}")
        if self.error is None:
            if self.result is None:
                raise Violation("the task has no result")
            job = self.remote.jobs[int(str(self.result["number"]))]
            if job.ends is not JobState.SUCCEEDED or job.cancelled_at is not None:
                raise Violation("the result is not that of a job that succeeded")
            if job.key.epoch != self.max_tries:
                raise Violation("the result is that of a job from before the Clear")
