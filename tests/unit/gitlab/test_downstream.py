"""Whether a trigger job waits for what it started shows in GitLab's times."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.gitlab.downstream import ended_after


def pipeline(status: str, finished: str | None) -> dict[str, Any]:
    return {"status": status, "finished_at": finished}


@pytest.mark.parametrize(
    ("bridge", "below", "waited"),
    [
        ("2026-01-01T00:00:09.000Z", pipeline("success", "2026-01-01T00:00:08.900Z"), True),
        ("2026-01-01T00:00:09.000Z", pipeline("failed", "2026-01-01T00:00:09.000Z"), True),
        ("2026-01-01T00:00:01.000Z", pipeline("success", "2026-01-01T00:00:08.900Z"), False),
        ("2026-01-01T00:00:01.000Z", pipeline("running", None), False),
        ("2026-01-01T00:00:01.000Z", pipeline("skipped", None), False),
        (None, pipeline("success", "2026-01-01T00:00:08.900Z"), False),
    ],
)
def test_a_trigger_job_that_waits_ends_last(bridge: str | None, below: dict[str, Any], waited: bool) -> None:
    assert ended_after({"finished_at": bridge}, below) is waited
