"""What happens in the life of one index: drawn from its seed, and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.campaign.vector.corpus import CHANGES

#: Where a worker dies, in the order of a run, with how often it comes by there (at the most that is drawn).
PHASES = {
    "survey": 1,
    "lease": 1,
    "read": 3,
    "mark": 1,
    "begin": 1,
    "embed": 3,
    "upsert": 3,
    "request": 4,
    "commit": 3,
    "delete": 2,
    "settle": 2,
    "look up": 1,
    "gate": 1,
    "seal": 1,
    "activate": 1,
    "drop": 1,
    "note": 5,
    "renew": 9,
    "release": 1,
}
#: How a run brings the index to the state of the source.
WAYS = ("sync", "sync", "gate", "held back", "rebuild", "redeclared")
CARE = ("audit", "collect", "rollback")


@dataclass(frozen=True)
class Death:
    """When a process dies (or the server, in its stead).

    :param phase: the call at which it happens; ``None`` for any moment.
    :param nth: which of these calls.
    :param when: ``before`` it, ``during`` it or ``after`` it.
    :param share: how far: of 50 ms into the call, or of the time that a run takes.
    """

    phase: str | None
    nth: int
    when: str
    share: float


@dataclass(frozen=True)
class Step:
    """One change of the source, and the runs that bring it into the index.

    :param change: of the source, from :data:`~.corpus.CHANGES`.
    :param way: from :data:`WAYS`.
    :param death: of the first run.
    :param again: of the run that was to repair that, if it dies as well.
    :param meanwhile: the source changes once more before the next run.
    :param other: the next run belongs to another holder, and has to wait until the lease ends.
    :param commits: LanceDB writes what it has after every batch, not at the end.
    :param care: maintenance after all that, if any, and its death.
    """

    change: str
    way: str
    death: Death
    again: Death | None
    meanwhile: str | None
    other: bool
    commits: bool
    care: tuple[str, Death] | None


def draw(seed: int, steps: int = 4) -> list[Step]:
    """The life with this seed. Ways and phases come in turn, so that few lives already show all of them."""
    chance = random.Random(seed)
    phases = list(PHASES)
    return [
        Step(
            change=chance.choice(CHANGES),
            way=WAYS[(seed * steps + number) % len(WAYS)],
            death=_death(chance, phases[(seed * steps + number) * 7 % len(phases)]),
            again=_death(chance, chance.choice(phases)) if chance.random() < 0.3 else None,
            meanwhile=chance.choice(CHANGES) if chance.random() < 0.3 else None,
            other=chance.random() < 0.25,
            commits=chance.random() < 0.5,
            care=(chance.choice(CARE), _death(chance, chance.choice(["drop", "activate", "read", "renew"])))
            if chance.random() < 0.4
            else None,
        )
        for number in range(steps)
    ]


def _death(chance: random.Random, phase: str) -> Death:
    at_any_moment = chance.random() < 0.3
    return Death(
        None if at_any_moment else phase,
        chance.randint(1, PHASES[phase]),
        chance.choice(["before", "during", "after"]),
        chance.random(),
    )
