from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_mlops.release.diff import diff
from airflow_provider_mlops.release.errors import LedgerCorrupt, NoPreviousRelease, PartInvalid
from airflow_provider_mlops.release.record import (
    ReleaseRecord,
    content_hash,
    identities,
    next_moment,
    release_id,
)
from airflow_provider_mlops.release.rollback import Standing, draft_release, draft_rollback, previous

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t"}
IMAGE = {
    "kind": "oci.image",
    "image": "file:///images/search@sha256:" + "a" * 64,
    "tags": ["b-1"],
    "reused": False,
}


def draft(standing: Standing, model: str, *, now: datetime = NOW) -> ReleaseRecord:
    return draft_release(standing, {"model": model}, run=RUN, now=now)


def standing(
    current: ReleaseRecord | None = None, unfinished: ReleaseRecord | None = None, newest: str | None = None
) -> Standing:
    known = [record.release_id for record in (current, unfinished) if record]
    return Standing("search", "production", current, unfinished, newest or max(known, default=None))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("s3://models/1", "s3://models/1"),
        (IMAGE, IMAGE["image"]),
        ({"kind": "bento", "digest": "sha256:1", "uri": "file:///x", "reused": True}, "sha256:1"),
        (
            {"kind": "vector.index", "backend": "lancedb", "index": "Docs", "version": "v1_00000000"},
            "lancedb Docs v1_00000000",
        ),
        (
            {"kind": "pod", "pod": "train-x7", "result": {"uri": "s3://m", "auc": 1}},
            '{"auc":1,"uri":"s3://m"}',
        ),
        ({"kind": "gitlab.pipeline", "project": "ml/x", "sha": "abc", "pipeline_id": 7}, "ml/x abc"),
        ({"sha256": "f00", "uri": "s3://m"}, "f00"),
        ({"uri": "s3://m"}, "s3://m"),
    ],
)
def test_the_identity_is_what_stays_the_same(part: Any, expected: str) -> None:
    assert identities({"x": part}) == {"x": expected}


@pytest.mark.parametrize(
    "part",
    [
        "",
        None,
        {},
        7,
        {"kind": "bento"},
        {"kind": "bento", "digest": ""},
        {"a": 1},
        {"sha256": "1", "x": object()},
    ],
)
def test_a_part_without_identity_is_refused(part: Any) -> None:
    with pytest.raises(PartInvalid):
        identities({"x": part})


def test_a_release_without_parts_is_refused() -> None:
    with pytest.raises(PartInvalid):
        identities({})


def test_labels_do_not_change_the_content() -> None:
    other = {**IMAGE, "tags": ["b-1", "20260301-120000"], "reused": True}
    assert content_hash(identities({"image": IMAGE})) == content_hash(identities({"image": other}))


def test_ids_sort_by_time_whatever_the_clock_does() -> None:
    first = release_id(NOW, "ff" * 32)
    second = release_id(next_moment(NOW.replace(year=2025), first), "00" * 32)
    assert first == "20260301-120000-ffffffff"
    assert second == "20260301-120001-00000000"
    assert second > first


def test_a_record_survives_storage() -> None:
    record = draft(standing(), "m1")
    assert ReleaseRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize("damage", [{"schema": 99}, {"kind": "x"}, {"identities": {"model": "m2"}}])
def test_a_damaged_record_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt):
        ReleaseRecord.from_json(draft(standing(), "m1").to_json() | damage)


@pytest.mark.parametrize("key", ["parts", "run", "action", "restores"])
def test_a_record_that_lacks_something_is_refused(key: str) -> None:
    data = draft(standing(), "m1").to_json()
    del data[key]
    with pytest.raises(LedgerCorrupt, match=key):
        ReleaseRecord.from_json(data)


def test_the_difference_names_the_parts() -> None:
    old = draft_release(standing(), {"model": "m1", "bento": "b"}, run=RUN, now=NOW)
    new = draft_release(standing(), {"model": "m2", "bento": "b", "index": "i"}, run=RUN, now=NOW)
    assert [str(change) for change in diff(old, new)] == ["index: (none) -> i", "model: m1 -> m2"]
    assert [change.part for change in diff(None, old)] == ["bento", "model"]


def test_the_same_parts_are_not_released_twice_unless_something_was_left_half_way() -> None:
    first = draft(standing(), "m1")
    assert draft(standing(first), "m1") is first
    half = draft(standing(first), "m2")
    again = draft(standing(first, half), "m1")
    assert again is not first
    assert again.previous_release_id == first.release_id


def test_previous_after_a_rollback_is_what_was_rolled_back() -> None:
    one = draft(standing(), "m1")
    two = draft(standing(one), "m2")
    back = draft_rollback(standing(two), previous(standing(two), [two, one]), run=RUN, now=NOW)
    assert (back.content, back.rolled_back_from, back.restores) == (
        one.content,
        two.release_id,
        one.release_id,
    )
    assert previous(standing(back), [back, two, one]) is two


def test_previous_after_a_release_that_ended_half_way_is_the_last_complete_one() -> None:
    one = draft(standing(), "m1")
    two = draft(standing(one), "m2")
    half = draft(standing(two), "m3")
    assert previous(standing(two, half), [two, one]) is two
    back = draft_rollback(standing(two, half), two, run=RUN, now=NOW)
    assert back.rolled_back_from == half.release_id


@pytest.mark.parametrize("half", [True, False])
def test_without_another_release_there_is_no_previous(half: bool) -> None:
    one = draft(standing(), "m1")
    state = standing(None, one) if half else standing(one)
    with pytest.raises(NoPreviousRelease):
        previous(state, [] if half else [one])
