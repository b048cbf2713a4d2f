"""One run: a task of Airflow from its first try to its end, with the accidents of its plan."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.testing.gitlab import GitlabStandIn, Knobs
from airflow_provider_mlops.testing.gitlab.model import Pipeline
from airflow_provider_mlops.testing.gitlab.statuses import COMPLETE
from tests.campaign.airflow_side import CONNECTIONS, Actor, Ended, end_worker, watch, work
from tests.campaign.fast_time import SPEED, FastClock
from tests.campaign.life import Life
from tests.campaign.plan import Accident, Plan
from tests.campaign.proxy import Proxy
from tests.campaign.real_worker import Order, RealLife, run_process
from tests.wire.gitlab.conftest import Task

_RETRIES = 3
#: Workers of a real run that are processes.
_REAL = (0, 1)
_MOST_ATTEMPTS = 14
#: Real seconds after which a run counts as stuck.
_PATIENCE = 150.0
_LINE = re.compile(r"line (\d+) of job (\d+)")
_BEGINS = re.compile(r"log of .* (from the start|goes on):")
_REPEATED = "it is repeated from its start"


@dataclass
class Creation:
    """A pipeline that a request of ours made."""

    by: str
    epoch: int
    duplicate: bool


@dataclass
class Verdict:
    """What came out of a run."""

    plan: Plan
    broken: list[str]
    attempts: int
    made: int
    duplicates_made: int
    duplicates_left: int
    requests: int
    events: list[str]


@dataclass(eq=False)
class Run:
    """Plays a plan against a stand-in that it has for itself meanwhile."""

    plan: Plan
    gitlab: GitlabStandIn
    threads: ThreadPoolExecutor
    store: dict[str, Any] | None = None
    state: str | None = "running"
    epoch: int = _RETRIES
    try_number: int = 0
    attempts: int = 0
    actors: list[Actor] = field(default_factory=list)
    created: dict[int, Creation] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    evidence: list[Any] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)
    payload: dict[str, Any] | None = None
    triggers: int = 0

    def __post_init__(self) -> None:
        self._clock = FastClock(time.time())
        self._began = time.monotonic()
        self._task = Task({}, store={} if self.plan.remembers else None)
        self._late: set[asyncio.Task[Any]] = set()
        tokenless = self.gitlab.read_token if self.plan.tier == "none" else None
        port = int(self.gitlab.url.rpartition(":")[2])
        faults = [replace(fault) for fault in self.plan.network]
        self._proxy = Proxy(port, faults, self._clock, self._note_creation, tokenless)

    # --- for the jobs, in their threads ------------------------------------------------------------

    def may_end(self, number: int) -> bool:
        """Whether a pipeline may succeed by itself: duplicates and superseded ones wait to be cancelled."""
        creation = self.created.get(number)
        if creation is None:
            return False
        return not self.plan.keyed or (creation.epoch == self.epoch and not self._seniors(number, creation))

    def fail_now(self, job_id: int) -> bool:
        """Whether this job is the one that fails: the first of its run."""
        if not self.failed:
            self.failed.add(job_id)
        return job_id in self.failed

    def _seniors(self, number: int, creation: Creation) -> list[Pipeline]:
        return [
            pipeline
            for pipeline in self.gitlab.pipelines()
            if pipeline.id < number
            and pipeline.status not in ("failed", "canceled")
            and pipeline.id in self.created
            and self.created[pipeline.id].epoch == creation.epoch
        ]

    def _note_creation(self, number: int, by: str) -> None:
        creation = Creation(by, int(by.rpartition("e")[2]), duplicate=False)
        creation.duplicate = bool(self._seniors(number, creation))
        self.created[number] = creation
        self._say(f"pipeline {number} made by {by}{', a duplicate' if creation.duplicate else ''}")

    # --- Airflow ------------------------------------------------------------------------------------

    async def play(self) -> Verdict:
        """The whole run."""
        broken: list[str] = []
        try:
            async with asyncio.timeout(_PATIENCE * SPEED):
                await self._play()
                await asyncio.gather(*self._late)
                await asyncio.sleep(2.0)
        except TimeoutError:
            broken.append("the run did not come to an end")
            for actor in self.actors:
                actor.life.kill()
        finally:
            broken += self._judge()
            self._say(", ".join(f"{actor.name}: {actor.life.steps} steps" for actor in self.actors))
            await self._proxy.close()
            for actor in self.actors:
                actor.life.kill()
                CONNECTIONS.pop(actor.connection.conn_id, None)
        pipelines = self.gitlab.pipelines()
        return Verdict(
            plan=self.plan,
            broken=broken,
            attempts=self.attempts,
            made=len(pipelines),
            duplicates_made=sum(creation.duplicate for creation in self.created.values()),
            duplicates_left=len(self._left()),
            requests=self._proxy.requests,
            events=self.events,
        )

    async def _play(self) -> None:
        self._spoil()
        while self.payload is None:
            self.try_number += 1
            self.attempts += 1
            if self.attempts > _MOST_ATTEMPTS:
                raise TimeoutError
            ended = await self._attempt()
            self._say(f"try {self.try_number} {ended.how} {ended.error}".rstrip())
            if ended.how == "returned":
                self.payload, self.state = ended.payload, "success"
            elif ended.how == "cleared" or ended.permanent or self.try_number > self.epoch:
                # A person looks at it and clears the task.
                self.epoch = self.try_number + _RETRIES

    def _spoil(self) -> None:
        knobs = asdict(Knobs()) | dict(self.plan.knobs) | {"variables_forbidden": self.plan.tier == "name"}
        knobs.pop("odd_status")
        self.gitlab.knobs.set(**knobs)
        for kind, method, path, skip, status in self.plan.answers:
            match kind:
                case "429":
                    self.gitlab.faults.rate_limit(method=method or None, path=path)
                case "429 with Retry-After":
                    self.gitlab.faults.rate_limit(method=method or None, path=path, retry_after=3)
                case "401":
                    self.gitlab.faults.unauthorized(path=path, skip=skip)
                case "page":
                    self.gitlab.faults.status(200, method="GET", path=path, skip=skip, body="<html>sign in")
                case _:
                    self.gitlab.faults.status(status, method=method or None, path=path, skip=skip)

    async def _attempt(self) -> Ended:
        context = self._task.context(self.try_number, self.epoch)
        self.state = "running"
        ended = await self._worker(context, None)
        while ended.how == "deferred" and ended.row is not None:
            self._say(f"try {self.try_number} is deferred")
            self.state = "deferred"
            event = await self._deferred(ended.row)
            if event is None:
                return Ended("cleared")
            self.state = "running"
            ended = await self._worker(context, (ended.method, event))
        return ended

    async def _worker(self, context: Any, resume: tuple[str, Any] | None) -> Ended:
        number = sum(actor.name.startswith("worker") for actor in self.actors)
        accident = self.plan.workers.get(number)
        conn_id = _conn_of(context) if resume else f"c{id(self)}_{number}"
        real = self.plan.real and number in _REAL
        actor = await self._actor(f"worker {number}", accident, conn_id, RealLife if real else Life)
        loop = asyncio.get_running_loop()
        if real:
            future = self._process(actor, accident, self._order(actor, context, resume), context)
        else:
            future = loop.run_in_executor(
                self.threads, work, actor, self._arguments(conn_id), context, resume
            )
        waits: list[asyncio.Future[Any]] = [future, asyncio.ensure_future(actor.life.frozen.wait())]
        if accident and accident.kind.startswith("clear"):
            waits.append(asyncio.ensure_future(asyncio.sleep(accident.at)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for other in waits[1:]:
            other.cancel()
        if future.done():
            return future.result()
        if actor.life.frozen.is_set():
            assert accident is not None
            self._say(f"{actor.name} freezes")
            self._later(self._thaw(actor, future, accident))
            return Ended("killed")
        assert accident is not None
        self._say(f"a person clears the task of {actor.name}")
        self.state = "restarting"
        if accident.kind == "clear":
            await self._end(actor, future)
        else:
            self._later(self._end(actor, future, accident.seconds))
        return Ended("cleared")

    def _process(
        self, actor: Actor, accident: Accident | None, order: Order, context: Any
    ) -> asyncio.Future[Ended]:
        """The worker as a real process, with its accident on time instead of at an await point."""
        loop = asyncio.get_running_loop()
        life = actor.life
        assert isinstance(life, RealLife)

        def begun() -> None:
            if accident and not accident.kind.startswith("clear"):
                loop.call_later(accident.at, life.kill if accident.kind == "kill" else life.freeze)

        def ready() -> None:
            loop.call_soon_threadsafe(begun)

        return loop.run_in_executor(self.threads, run_process, life, order, context, actor.info, ready)

    def _order(self, actor: Actor, context: Any, resume: tuple[str, Any] | None) -> Order:
        ti = {name: value for name, value in vars(context["ti"]).items() if name != "xcom"}
        info = actor.connection
        connection = {"host": info.host, "password": info.password, "extra": dict(info.extra)}
        return Order(
            arguments=self._arguments(info.conn_id),
            connection=connection,
            ti=ti,
            dag_run=context["dag_run"],
            store=self._task.store,
            resume=resume,
            clock_start=self._clock.start,
            xcom=context["ti"].xcom,
        )

    async def _thaw(self, actor: Actor, future: Awaitable[Ended], accident: Accident) -> None:
        await asyncio.sleep(accident.seconds)
        self._say(f"{actor.name} thaws")
        actor.life.thaw()
        if accident.kind == "freeze, then kill":
            await self._end(actor, future)
        self._say(f"{actor.name}: {(await future).how}")

    async def _end(self, actor: Actor, future: Awaitable[Ended], after: float = 0.0) -> None:
        await asyncio.sleep(after)
        ending = asyncio.get_running_loop().run_in_executor(self.threads, end_worker, actor)
        await asyncio.wait([ending], timeout=20)
        actor.life.kill()
        await future

    async def _deferred(self, row: dict[str, Any]) -> Any:
        """The event of the trigger; ``None`` if a person cleared the task."""
        while True:
            number = self.triggers
            self.triggers += 1
            accident = self.plan.triggers.get(number)
            event = await self._triggers(row, accident, number)
            if event is not None:
                return event
            self._say(f"trigger {number} is gone; another triggerer takes over")

    async def _triggers(self, row: dict[str, Any], accident: Accident | None, number: int) -> Any:
        self.evidence.append(row)
        first = await self._trigger(f"trigger {number}", accident, row)
        if accident is None or accident.kind != "two":
            return await first
        await asyncio.sleep(accident.at / 3)
        second = await self._trigger(f"trigger {number} again", None, row)
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        for actor in self.actors[-2:]:
            self._later(_kill_soon(actor))
        return next(iter(done)).result()

    async def _trigger(self, name: str, accident: Accident | None, row: dict[str, Any]) -> asyncio.Task[Any]:
        conn_id = f"c{id(self)}_{name.replace(' ', '_')}"
        actor = await self._actor(name, accident if accident and accident.kind == "kill" else None, conn_id)
        row = {**row, "adapter": {**row["adapter"], "conn_id": conn_id}}
        task = asyncio.ensure_future(watch(actor, row))
        self._late.add(task)
        return task

    # --- helpers ------------------------------------------------------------------------------------

    async def _actor(
        self, name: str, accident: Accident | None, conn_id: str, kind_of_life: type[Life] = Life
    ) -> Actor:
        kind = accident.kind if accident else ""
        life = kind_of_life(
            kill_at=accident.at if accident and kind == "kill" else None,
            freeze_at=accident.at if accident and kind.startswith("freeze") else None,
        )
        url = await self._proxy.listen(f"{name} e{self.epoch}", life)
        password = None if self.plan.tier == "none" else self.gitlab.token
        connection = ConnectionInfo(
            conn_id, host=url, password=password, extra={"trigger_token": self.gitlab.trigger_token}
        )
        CONNECTIONS[conn_id] = connection
        loop = asyncio.get_running_loop()
        actor = Actor(name, life, self._clock, loop, connection, lambda: self.state)
        self.actors.append(actor)
        return actor

    def _arguments(self, conn_id: str) -> dict[str, Any]:
        return {
            "project": self.gitlab.project.path,
            "gitlab_conn_id": conn_id,
            "outputs": {"made_by": "train:out.json#/pipeline"},
            "use_trigger_token": self.plan.tier in ("variable by trigger token", "none"),
            "key_input": "airflow_key" if self.plan.tier == "input" else None,
            "deferrable": self.plan.deferrable,
            "poll_interval": 2.0,
        }

    def _later(self, coroutine: Any) -> None:
        self._late.add(asyncio.ensure_future(coroutine))

    def _say(self, text: str) -> None:
        self.events.append(f"{time.monotonic() - self._began:6.2f} {text}")

    # --- judgement ----------------------------------------------------------------------------------

    def _left(self) -> list[Pipeline]:
        """Pipelines beside the kept one that nobody cancelled: active, or of the same epoch and a success."""
        kept = self.payload["pipeline_id"] if self.payload else None
        return [
            pipeline
            for pipeline in self.gitlab.pipelines()
            if pipeline.id != kept
            and (
                pipeline.status not in COMPLETE
                or (pipeline.status == "success" and self.created[pipeline.id].epoch == self.epoch)
            )
        ]

    def _judge(self) -> list[str]:
        broken = self._judge_secrets() + self._judge_gaps()
        if self.payload is None:
            return broken
        kept = next((p for p in self.gitlab.pipelines() if p.id == self.payload["pipeline_id"]), None)
        if kept is None or kept.status != "success":
            return [*broken, f"the task kept pipeline {self.payload['pipeline_id']}, which is no success"]
        if self.payload["made_by"] != kept.id:
            broken.append(f"the result {self.payload['made_by']} is not of pipeline {kept.id}")
        broken += self._judge_lines(kept)
        if self.plan.keyed:
            if self.created[kept.id].epoch != self.epoch:
                broken.append(f"pipeline {kept.id} is from before the Clear")
            broken += [f"pipeline {pipeline.id} is left {pipeline.status}" for pipeline in self._left()]
        return broken

    def _judge_lines(self, kept: Pipeline) -> list[str]:
        shown = {
            (int(match[2]), int(match[1]))
            for actor in self.actors
            for line in actor.lines
            if (match := _LINE.search(line))
        }
        lines = self.plan.job["lines"]
        missing = {
            job.id: [number for number in range(lines) if (job.id, number) not in shown] for job in kept.jobs
        }
        return [f"job {job} lost its lines {numbers}" for job, numbers in missing.items() if numbers]

    def _judge_gaps(self) -> list[str]:
        """Within what one process writes, lines follow each other: no gap, no repetition without a word."""
        broken = []
        for actor in self.actors:
            last: dict[str, int] = {}
            fresh = False
            for line in actor.lines:
                if match := _BEGINS.search(line):
                    last, fresh = {}, match[1] == "from the start"
                if _REPEATED in line:
                    last = {}
                if match := _LINE.search(line):
                    number, job = int(match[1]), match[2]
                    expected = last[job] + 1 if job in last else 0 if fresh else number
                    if number != expected:
                        broken.append(f"{actor.name} wrote line {number} of job {job} instead of {expected}")
                    last[job] = number
        return broken

    def _judge_secrets(self) -> list[str]:
        everything = json.dumps(
            [
                [actor.lines for actor in self.actors],
                self._task.xcoms,
                self._task.store,
                self.evidence,
                self.payload,
            ]
        )
        secrets = (self.gitlab.token, self.gitlab.read_token, self.gitlab.trigger_token)
        return ["a token was written"] if any(secret in everything for secret in secrets) else []


def _conn_of(context: Any) -> str:
    conn_id = context["ti"].xcom["external_job"]["adapter"]["conn_id"]
    assert isinstance(conn_id, str)
    return conn_id


async def _kill_soon(actor: Actor) -> None:
    await asyncio.sleep(5.0)
    actor.life.kill()
