"""A short campaign; ``make campaign RUNS=3000`` plays a long one."""

from __future__ import annotations

from tests.campaign.campaign import play_seeds
from tests.campaign.plan import KEYED, WEAK

TIERS = (*KEYED, *WEAK)


def test_bad_days_leave_one_pipeline_its_result_and_every_line():
    tally = play_seeds([(tier, seed) for seed in range(12) for tier in TIERS])
    assert {tier: sums["broken"] for tier, sums in tally.items()} == dict.fromkeys(TIERS, 0)
    assert {tier: tally[tier]["duplicates_left"] for tier in KEYED} == dict.fromkeys(KEYED, 0)
    # Or else nothing has gone wrong.
    assert sum(sums["attempts"] for sums in tally.values()) > 1.3 * sum(
        sums["runs"] for sums in tally.values()
    )
