"""Whether one version answers worse than another, or only happened to: a paired bootstrap. Pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The same figures give the same verdict in every run.
_SEED = 20260101
_RESAMPLES = 5000
_RESAMPLES_AT_ONCE = 100
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean scores of two versions over the same queries.

    :param live: of the live version.
    :param candidate: of the new one.
    :param low: lower end of the 95 % interval of the difference, candidate minus live.
    :param high: upper end.
    """

    live: float
    candidate: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """Candidate minus live."""
        return self.candidate - self.live

    def regressed(self, margin: float) -> bool:
        """Whether the candidate is worse by more than the margin, and chance does not explain that it is worse."""
        return self.difference < -margin and self.high < 0

    def to_json(self) -> dict[str, Any]:
        """For the gate's report."""
        return {
            "live": round(self.live, 6),
            "difference": round(self.difference, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
        }


def compare(live: Sequence[float], candidate: Sequence[float]) -> Comparison:
    """Draw the queries again and again, both scores of a query together, and see how the difference varies.

    :param live: scores of the live version, one per query.
    :param candidate: those of the new version, in the same order.
    """
    import numpy as np

    differences = np.asarray(candidate, dtype=float) - np.asarray(live, dtype=float)
    draw = np.random.default_rng(_SEED)
    count = len(differences)
    means = np.concatenate(
        [
            differences[draw.integers(0, count, (_RESAMPLES_AT_ONCE, count))].mean(axis=1)
            for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE)
        ]
    )
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Comparison(float(np.mean(live)), float(np.mean(candidate)), float(low), float(high))
