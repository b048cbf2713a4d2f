"""Which pipelines have come to an end: decisions without a GitLab."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab.pipeline_events import EndedPipelines, PipelineFilter, event_of
from airflow_provider_mlops.triggers import GitlabPipelineEventTrigger

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row(number: int, status: str, minute: float = 1, **more: Any) -> dict[str, Any]:
    changed = (START + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    return {"id": number, "status": status, "updated_at": changed, "ref": "main", "source": "push", **more}


def watch(**wanted: Any) -> EndedPipelines:
    return EndedPipelines(PipelineFilter.checked(**{"statuses": None, **wanted}), START)


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [each["id"] for each in rows]


def test_each_end_is_told_once_in_the_order_of_the_ends():
    ended = watch()
    batch = [row(3, "failed", 3), row(2, "running", 2), row(1, "success", 1)]
    assert ids(ended.take(batch)) == [1, 3]
    assert ended.take(batch) == []
    assert ids(ended.take([*batch, row(2, "canceled", 4)])) == [2]


def test_a_retried_pipeline_ends_again():
    ended = watch()
    assert ids(ended.take([row(1, "failed", 1)])) == [1]
    assert ended.take([row(1, "running", 2)]) == []
    assert ids(ended.take([row(1, "failed", 3)])) == [1]
    assert ids(ended.take([row(1, "success", 4)])) == [1]


def test_a_stale_row_of_a_lagging_list_is_not_news():
    ended = watch()
    ended.take([row(1, "running", 1)])
    assert ids(ended.take([row(1, "success", 2)])) == [1]
    assert ended.take([row(1, "running", 1)]) == []
    assert ended.take([row(1, "success", 2)]) == []


def test_what_ended_before_does_not_count():
    ended = watch()
    assert ended.take([row(1, "success", -1)]) == []
    assert ids(ended.take([row(2, "success", 0)])) == [2]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"ref": "main"}, [1, 3]),
        ({"ref": "release/*"}, [2]),
        ({"source": "schedule"}, [3]),
        ({"statuses": ["success"]}, [1, 2]),
        ({"name": "nightly*"}, [3]),
        ({"ref": "main", "statuses": ["failed"], "source": "push"}, []),
    ],
)
def test_only_what_is_wanted_counts(wanted, expected):
    batch = [
        row(1, "success", 1),
        row(2, "success", 2, ref="release/1.2"),
        row(3, "failed", 3, source="schedule", name="nightly af-1"),
    ]
    assert ids(watch(**wanted).take(batch)) == expected


def test_a_watcher_that_starts_again_neither_repeats_nor_loses():
    ended = watch()
    ended.take([row(1, "success", 10), row(2, "running", 10)])
    note = json.loads(json.dumps(ended.to_json()))
    again = watch()
    again.resume(note)
    assert again.since < START + timedelta(minutes=10)
    missed = [row(1, "success", 10), row(2, "failed", 11), row(3, "success", 200)]
    assert ids(again.take(missed)) == [2, 3]


def test_memory_is_bounded_and_so_is_the_note():
    ended = watch()
    for number in range(0, 12000, 100):
        ended.take([row(number + each, "success", 1 + number / 1000) for each in range(100)])
    assert len(ended._seen) <= 5000
    assert len(json.dumps(ended.to_json())) < 60_000


def test_the_event_is_the_same_whoever_makes_it():
    entity = row(7, "success", project_id=1, sha="c1", web_url="u", name=None)
    assert event_of(entity, "a/b") == {
        "kind": "gitlab.pipeline",
        "project": "a/b",
        "project_id": 1,
        "pipeline_id": 7,
        "status": "success",
        "ref": "main",
        "sha": "c1",
        "source": "push",
        "name": None,
        "url": "u",
        "ended_at": entity["updated_at"],
    }


@pytest.mark.parametrize("statuses", ["success", ["running"], [], ["success", "done"]])
def test_a_status_that_ends_nothing_is_refused(statuses):
    with pytest.raises(InvalidArgument, match="statuses"):
        PipelineFilter.checked(statuses=statuses)


@pytest.mark.skipif(AIRFLOW_3, reason="Airflow 3 has asset watchers")
def test_airflow_2_has_no_asset_watchers_and_is_told_so():
    with pytest.raises(InvalidArgument, match="no asset watchers"):
        GitlabPipelineEventTrigger(project="a/b")


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers")
@pytest.mark.parametrize(
    "arguments", [{"project": ""}, {"statuses": ["done"]}, {"poll_interval": 0}, {"look_back": -1}]
)
def test_bad_arguments_are_refused_where_the_dag_is_read(arguments):
    with pytest.raises(InvalidArgument):
        GitlabPipelineEventTrigger(**{"project": "a/b", **arguments})


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers")
def test_the_row_rebuilds_the_trigger():
    trigger = GitlabPipelineEventTrigger(project="a/b", ref="main", statuses=("success",), look_back=60)
    path, kwargs = json.loads(json.dumps(trigger.serialize()))
    assert path.endswith(".GitlabPipelineEventTrigger")
    assert GitlabPipelineEventTrigger(**kwargs).serialize() == trigger.serialize()
