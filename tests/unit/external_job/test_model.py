"""The promises of the engine, under accidents at every step.

By default: every single accident at every step of every world, and a fixed sample of the pairs and of longer
rows. ``MLOPS_MODEL=full`` runs all pairs, which takes long.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from airflow_provider_mlops.external_job import engine as engine_module
from airflow_provider_mlops.external_job.adapter import JobState
from airflow_provider_mlops.external_job.attempt import attempt_of
from airflow_provider_mlops.external_job.decision import Action, Decision, start_of_attempt
from tests.unit.external_job import model
from tests.unit.external_job.model import Accident, Violation, World

FULL = os.environ.get("MLOPS_MODEL") == "full"

AT_ONCE = ("lost", "edit retries", "crash", "deploy", "mark failed", "clear")
LATER = ("freeze", "late kill", "clear unseen", "clear on 2.11")
AFTER = tuple(range(20)) if FULL else (0, 1, 3, 5, 8, 12)

WORLDS = [
    pytest.param((kind, durable, first_fails), id=f"{kind}-{'store' if durable else 'no store'}-{outcome}")
    for kind, durable, (first_fails, outcome) in itertools.product(
        ("unique", "strong", "lagging", "none"), (False, True), ((False, "succeeds"), (True, "fails first"))
    )
]


def at(step: int, afters: Sequence[int] = AFTER) -> Iterator[Accident]:
    for kind in AT_ONCE:
        yield Accident(step, kind)
    for kind, after in itertools.product(LATER, afters):
        yield Accident(step, kind, after)


def run(shape: tuple[str, bool, bool], accidents: Sequence[Accident]) -> World:
    try:
        return World(*shape, accidents).run()
    except Violation as violation:
        raise AssertionError(f"{violation}, after {list(accidents)}") from violation


@pytest.mark.parametrize("shape", WORLDS)
def test_every_single_accident(shape):
    for step in range(World(*shape).run().steps):
        for accident in at(step):
            run(shape, [accident])


@pytest.mark.parametrize("shape", WORLDS)
@pytest.mark.timeout(0)
def test_two_accidents(shape):
    choice = random.Random(f"pairs {shape}")
    afters = AFTER if FULL else (2, 6)
    firsts = [accident for step in range(World(*shape).run().steps) for accident in at(step, afters)]
    if not FULL:
        firsts = choice.sample(firsts, 12)
    for first in firsts:
        steps = run(shape, [first]).steps
        seconds = [accident for step in range(first.at + 1, steps) for accident in at(step, afters)]
        if not FULL:
            seconds = choice.sample(seconds, min(12, len(seconds)))
        for second in seconds:
            run(shape, [first, second])


@pytest.mark.parametrize("shape", WORLDS)
@pytest.mark.timeout(0)
def test_a_row_of_bad_luck(shape):
    choice = random.Random(f"rows {shape}")
    for _ in range(2000 if FULL else 60):
        steps = sorted(choice.sample(range(40), choice.randint(3, 4)))
        run(shape, [choice.choice(list(at(step))) for step in steps])


def test_without_accidents_one_job_is_made_and_its_result_returned():
    world = World("strong").run()
    assert [job.state(world.now) for job in world.remote.jobs] == [JobState.SUCCEEDED]
    assert world.result == {"number": 0}


def test_a_crash_right_after_the_submission_makes_no_second_job_where_the_key_is_kept():
    for kind in ("unique", "strong", "lagging"):
        for step in range(12):
            assert len(World(kind, accidents=[Accident(step, "crash")]).run().remote.jobs) == 1


# --- the model can fail ------------------------------------------------------------------------------


def forget_the_epoch(key, found, **facts) -> Decision:
    return start_of_attempt(key, [replace(job, epoch=key.epoch) for job in found], **facts)


def cancel_nothing(*args, **kwargs) -> Decision:
    return replace(start_of_attempt(*args, **kwargs), cancel=())


def raise_the_generation_always(*args, **kwargs) -> Decision:
    decision = start_of_attempt(*args, **kwargs)
    return (
        replace(decision, generation=decision.generation + 1)
        if decision.action is Action.SUBMIT
        else decision
    )


def rerun_a_success(*args, **kwargs) -> Decision:
    decision = start_of_attempt(*args, **kwargs)
    return Decision(Action.SUBMIT) if decision.action is Action.COLLECT else decision


def violated(shapes: Sequence[tuple[str, bool, bool]]) -> bool:
    for shape in shapes:
        for step in range(16):
            for accident in at(step, (1, 5, 12)):
                try:
                    World(*shape, [accident]).run()
                except Violation:
                    return True
    return False


@pytest.mark.parametrize("broken", [forget_the_epoch, raise_the_generation_always, rerun_a_success])
def test_a_broken_table_is_caught(monkeypatch, broken):
    monkeypatch.setattr(engine_module, "start_of_attempt", broken)
    assert violated([("strong", False, False), ("unique", False, False)])


def test_cancelling_nothing_is_caught(monkeypatch):
    async def no_sweep(self, attempt, handle):
        return None

    monkeypatch.setattr(engine_module, "start_of_attempt", cancel_nothing)
    monkeypatch.setattr(engine_module.Engine, "_sweep", no_sweep)
    assert violated([("strong", False, False)])


def test_cancelling_at_every_kill_is_caught(monkeypatch):
    monkeypatch.setattr(model, "may_cancel", lambda state: True)
    assert violated([("strong", False, False)])


def test_not_looking_again_after_the_submission_is_caught(monkeypatch):
    found = engine_module._Start._found

    async def only_mine(self):
        if self.mine is None:
            return await found(self)
        jobs = []
        await self._add(jobs, self.mine.handle, self.attempt.try_number)
        return jobs, False

    monkeypatch.setattr(engine_module._Start, "_found", only_mine)
    assert violated([("strong", False, False)])


def test_a_key_that_follows_an_edit_of_retries_is_caught():
    def subtracting(context, **arguments):
        attempt = attempt_of(context, **arguments)
        ti = context["ti"]
        return replace(attempt, key=replace(attempt.key, epoch=ti.max_tries - ti.task.retries))

    pair = [Accident(6, "edit retries"), Accident(7, "crash")]
    assert len(World("strong", accidents=pair).run().remote.jobs) == 1
    with pytest.raises(Violation):
        World("strong", accidents=pair, attempt_of=subtracting).run()
