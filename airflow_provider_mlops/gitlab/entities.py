"""Reading the entities of GitLab's API. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from airflow_provider_mlops.external_job.adapter import JobHandle, Json

#: An entity of GitLab's API, as decoded from JSON.
Entity: TypeAlias = dict[str, Any]


def parse_time(text: str | None) -> datetime | None:
    """A moment as GitLab writes it."""
    return datetime.fromisoformat(text) if text else None


def handle_of(pipeline: Entity, generation: int) -> JobHandle:
    """The handle of a pipeline: the same whichever of GitLab's answers it was made from."""
    created = parse_time(pipeline.get("created_at"))
    ref: dict[str, Json] = {
        "project_id": pipeline["project_id"],
        "pipeline_id": pipeline["id"],
        "created": int(created.timestamp()) if created else None,
    }
    return JobHandle(generation, ref, pipeline.get("web_url"))


def pipeline_id_of(handle: JobHandle) -> int:
    """Id of the pipeline that a handle points at."""
    value = handle.ref["pipeline_id"]
    assert isinstance(value, int)
    return value


def created_of(handle: JobHandle) -> float:
    """Unix time of the pipeline's creation, as GitLab told it; 0 if it did not."""
    value = handle.ref.get("created")
    return float(value) if isinstance(value, int | float) else 0.0
