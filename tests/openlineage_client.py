"""What tests of lineage share: a provider in whose hands facets end, and the real client that writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import pytest

EXTRACTORS = "airflow.providers.openlineage.extractors"


@pytest.fixture
def lineage_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider of OpenLineage in whose hands the real client's facets end."""
    pytest.importorskip("openlineage.client")
    extractors = SimpleNamespace(OperatorLineage=SimpleNamespace, __spec__=ModuleSpec(EXTRACTORS, None))
    monkeypatch.setitem(sys.modules, EXTRACTORS, extractors)  # type: ignore[arg-type]


def as_sent(lineage: Any) -> Mapping[str, Any]:
    """The event as the real client writes it."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    event = RunEvent(
        eventTime="2026-01-01T00:00:00Z",
        producer="tests",
        run=Run("01941f29-7c00-7000-8000-000000000000", lineage.run_facets),
        job=Job("airflow", "release.publish", lineage.job_facets),
        eventType=RunState.COMPLETE,
        inputs=lineage.inputs,
        outputs=lineage.outputs,
    )
    sent: Mapping[str, Any] = json.loads(Serde.to_json(event))
    return sent
