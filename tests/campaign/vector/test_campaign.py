"""A short campaign; ``make campaign NAME=vector`` plays a long one."""

from __future__ import annotations

import pytest

pytest.importorskip("lancedb")
from tests.campaign.vector.campaign import play


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_workers_leave_nothing_lost_doubled_or_half_made_in_lancedb():
    figures = play("lancedb", 8)
    assert figures["findings"] == []
    assert figures["kills"] >= 8
    assert figures["reader queries"] > 20


@pytest.mark.slow
@pytest.mark.server("weaviate")
@pytest.mark.timeout(300)
def test_killed_workers_leave_nothing_lost_doubled_or_half_made_in_weaviate():
    figures = play("weaviate", 6)
    assert figures["findings"] == []
    assert figures["kills"] >= 6
    assert figures["reader queries"] > 20


@pytest.mark.slow
@pytest.mark.server("weaviate")
@pytest.mark.timeout(300)
def test_a_killed_server_hides_nothing_that_a_run_or_an_audit_does_not_find():
    figures = play("weaviate server", 3)
    assert figures["findings"] == []
    assert figures["kills"] >= 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_version_that_goes_live_before_it_is_whole_is_noticed():
    figures = play("lancedb", 1, seed=1, sabotage="live too early", tell=lambda _: None)
    assert any("none of the complete states" in line for line in figures["findings"])
    assert not any("ended with" in line for line in figures["findings"])
