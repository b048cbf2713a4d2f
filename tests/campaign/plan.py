"""What happens in one run: drawn from its seed, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.campaign.fast_time import SPEED
from tests.campaign.proxy import KINDS, NetworkFault

#: How the key travels. GitLab keeps it in the first three.
KEYED = ("input", "variable", "variable by trigger token")
WEAK = ("name", "none")

_PATHS = (
    ("POST", r"/pipeline$"),
    ("POST", r"/pipeline$"),
    ("GET", r"/pipelines$"),
    ("GET", r"/pipelines/\d+$"),
    ("GET", r"/variables$"),
    ("GET", r"/jobs$"),
    ("GET", r"/trace"),
    ("GET", r"/artifacts/"),
    ("POST", r"/cancel$"),
    ("PUT", r"/metadata$"),
    ("", r""),
)


@dataclass(frozen=True)
class Accident:
    """Of one process.

    :param kind: ``kill``, ``freeze`` (and thaw, with the next attempt running), ``freeze, then kill``,
        ``clear`` (on_kill at once) or ``clear, kill late`` of a worker; ``kill`` or ``two`` of a trigger.
    :param at: await point, or for a Clear seconds.
    :param seconds: until the thaw, or until the late on_kill.
    """

    kind: str
    at: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One run.

    :param real: the first workers are processes of their own, ended with SIGKILL, stopped with SIGSTOP.
    :param remembers: Airflow 3.3's task state store is there.
    :param workers: accidents by number of the worker process.
    :param triggers: accidents by number of the trigger process.
    :param answers: faults of GitLab's own answers: kind, method, path, skipped requests, status or seconds.
    :param knobs: how GitLab behaves on the whole; seconds are real ones.
    :param job: how the job behaves.
    """

    seed: int
    tier: str
    real: bool
    deferrable: bool
    remembers: bool
    workers: Mapping[int, Accident]
    triggers: Mapping[int, Accident]
    network: Sequence[NetworkFault] = field(default_factory=tuple)
    answers: Sequence[tuple[Any, ...]] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keyed(self) -> bool:
        return self.tier in KEYED

    def __str__(self) -> str:
        rows = [f"seed {self.seed}: {self.tier}", f"real={self.real} deferrable={self.deferrable}"]
        rows.append(f"remembers={self.remembers} job={dict(self.job)} knobs={dict(self.knobs)}")
        rows += [f"worker {number}: {accident}" for number, accident in self.workers.items()]
        rows += [f"trigger {number}: {accident}" for number, accident in self.triggers.items()]
        rows += [f"network: {fault}" for fault in self.network]
        rows += [f"answers: {fault}" for fault in self.answers]
        return "\n  ".join(rows)


def draw(seed: int, tier: str) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"{tier} {seed}")
    deferrable = chance.random() < 0.5
    workers = {number: _of_worker(chance) for number in range(6) if chance.random() < 0.4}
    triggers = {
        number: Accident(chance.choice(["kill", "kill", "two"]), chance.randint(2, 50))
        for number in range(4)
        if chance.random() < 0.4
    }
    network = [_network_fault(chance) for _ in range(chance.choice([0, 0, 1, 1, 2, 3, 5]))]
    answers = [_answer_fault(chance) for _ in range(chance.choice([0, 0, 1, 2, 4]))]
    return Plan(
        seed=seed,
        tier=tier,
        real=seed % 20 == 9,
        deferrable=deferrable,
        remembers=chance.random() < 0.5,
        workers=workers,
        triggers=triggers,
        network=network,
        answers=answers,
        knobs=_knobs(chance),
        job={
            "lines": chance.randint(3, 25),
            "pause": chance.choice([0.0, 0.01, 0.03, 0.05]),
            "late": chance.choice([0.0, 0.0, 0.03]),
            "shift": chance.choice([0, 0, 30]),
            "fails": chance.choice([None] * 8 + ["runner_system_failure", "script_failure"]),
        },
    )


def _of_worker(chance: random.Random) -> Accident:
    kind = chance.choice(["kill", "kill", "kill", "freeze", "freeze, then kill", "clear", "clear, kill late"])
    if kind.startswith("clear"):
        return Accident(kind, chance.randint(0, 60), chance.uniform(5, 40))
    return Accident(kind, round(5 * 2 ** chance.uniform(0, 5)), chance.uniform(5, 100))


def _network_fault(chance: random.Random) -> NetworkFault:
    method, path = chance.choice(_PATHS)
    seconds = chance.choice([5.0, 20.0, 36.0])
    return NetworkFault(chance.choice(KINDS), method, path, chance.choice([0, 0, 0, 1, 3, 8]), seconds)


def _answer_fault(chance: random.Random) -> tuple[Any, ...]:
    method, path = chance.choice(_PATHS)
    skip = chance.choice([0, 0, 1, 4])
    kind = chance.choice(["429", "429 with Retry-After", "5xx", "5xx", "401", "page"])
    if kind == "401":
        # Expired in the middle: the task fails for good, and a person clears it.
        skip += 3
    return kind, method, path, skip, chance.choice([500, 502, 503, 520])


def _knobs(chance: random.Random) -> dict[str, Any]:
    lag = chance.choice([0.0, 0.0, 5.0, 20.0]) / SPEED
    return {
        "list_lag": lag,
        "hidden_after_create": chance.choice([0.0, 0.0, 3.0, 10.0]) / SPEED,
        "stale_after_create": chance.choice([0.0, 0.0, 10.0]) / SPEED,
        "created_for": chance.choice([0.0, 0.05]),
        "pending_for": chance.choice([0.0, 0.1]),
        "trace_windows": chance.random() < 0.7,
        "trace_timestamps": chance.random() < 0.7,
        "artifacts_redirect": chance.random() < 0.2,
        "hide_total_headers": chance.random() < 0.3,
        "odd_status": chance.random() < 0.2,
    }
