"""The promises of the engine, under accidents at every step.

By default: every single accident at every step of every world, and a fixed sample of the pairs and of longer
rows. ``MLOPS_MODEL=full`` runs every pair at every pair of steps; of those that leave the world in the same
state (see :mod:`fingerprint`) one goes on. Frozen processes and late kills come back after 0 to 19 steps
(by default: six of these) where they are the only accident, in pairs after 0, 2 or 5 (by default: 2 or 6); in
full mode also when everything else is over. Other delays are not tried.

Not promised, and so not asserted (see ``World.check``):

- Where listings lag and a person ends the task, a job younger than the lag may be left, but never a second one:
  the kill cancels the job that it knows and those that are listed, and no later attempt looks again.
- A worker that was frozen right before a submission and thaws after a person ended the task submits still. At
  most one job per slot is left by that.
- Where an edit of ``retries`` before a Clear happens to give the same epoch, the Clear looks like a crash: the
  task goes on with its job.
- Where the remote cannot be searched at all (``none``), nothing beyond the right result.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

import pytest

from airflow_provider_mlops.external_job import finishing, remote, starting
from airflow_provider_mlops.external_job.adapter import JobState
from airflow_provider_mlops.external_job.attempt import attempt_of
from airflow_provider_mlops.external_job.decision import Action, Decision, start_of_attempt
from tests.unit.external_job import model
from tests.unit.external_job.fingerprint import fingerprint
from tests.unit.external_job.model import NEVER, Accident, Violation, World

FULL = os.environ.get("MLOPS_MODEL") == "full"

AT_ONCE = ("lost", "edit retries", "crash", "deploy", "mark failed", "clear")
LATER = ("freeze", "late kill", "clear unseen", "clear on 2.11")
AFTER = (*range(20), NEVER) if FULL else (0, 1, 3, 5, 8, 12)
#: The same for pairs of accidents.
DELAYS = (0, 2, 5, NEVER) if FULL else (2, 6)

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
    firsts = [accident for step in range(World(*shape).run().steps) for accident in at(step, DELAYS)]
    seen: set[Hashable] = set()
    for first in firsts if FULL else choice.sample(firsts, 12):
        seconds = [accident for step in new_states_after(first, shape, seen) for accident in at(step, DELAYS)]
        for second in seconds if FULL else choice.sample(seconds, min(12, len(seconds))):
            run(shape, [first, second])


def new_states_after(first: Accident, shape: tuple[str, bool, bool], seen: set[Hashable]) -> list[int]:
    """Steps after the first accident at which the world is in a state that it was not in before."""
    steps = []

    def look(world: World) -> None:
        if not world.pending and (state := fingerprint(world)) not in seen:
            seen.add(state)
            steps.append(world.steps)

    World(*shape, [first], on_step=look).run()
    return steps


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


def test_a_duplicate_is_cancelled_while_the_kept_one_fails_and_the_next_attempt_goes_on():
    world = run(("lagging", False, True), [Accident(2, "freeze", 5), Accident(11, "freeze", 0)])
    assert world.result is not None


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
    monkeypatch.setattr(remote, "start_of_attempt", broken)
    assert violated([("strong", False, False), ("unique", False, False)])


def test_cancelling_nothing_is_caught(monkeypatch):
    async def no_sweep(remote, attempt, handle):
        return None

    monkeypatch.setattr(remote, "start_of_attempt", cancel_nothing)
    monkeypatch.setattr(finishing, "sweep", no_sweep)
    assert violated([("strong", False, False)])


def test_cancelling_at_every_kill_is_caught(monkeypatch):
    monkeypatch.setattr(model, "may_cancel", lambda state: True)
    assert violated([("strong", False, False)])


def test_not_looking_again_after_the_submission_is_caught(monkeypatch):
    found = starting._Start._found

    async def only_mine(self):
        if self.mine is None:
            return await found(self)
        jobs = []
        await self._add(jobs, self.mine.handle, self.attempt.try_number)
        return jobs, False

    monkeypatch.setattr(starting._Start, "_found", only_mine)
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
