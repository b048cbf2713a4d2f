from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.oci.errors import ImageTagConflict, InvalidReference
from airflow_provider_mlops.oci.ledger import next_tag, previous, promotions
from airflow_provider_mlops.oci.tag_policy import (
    check_channel,
    check_tag,
    content_tag,
    date_tag,
    is_immutable,
    ledger_moment,
    ledger_tag,
    must_write,
    rollback_tag,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MOMENT = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)


def test_dates_are_utc_whatever_zone_they_come_in() -> None:
    assert date_tag(MOMENT) == "20260301-123005"
    assert date_tag(MOMENT.astimezone(timezone(timedelta(hours=5)))) == "20260301-123005"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        date_tag(datetime(2026, 3, 1))


def test_ledger_tags_are_read_back() -> None:
    assert ledger_moment(ledger_tag("beta-eu", MOMENT), "beta-eu") == MOMENT


@pytest.mark.parametrize(
    "tag", ["20260301-123005", "beta", "beta-20260301", "beta-20261399-123005", "beta-eu-20260301-123005"]
)
def test_other_tags_are_no_ledger_tags_of_the_channel(tag: str) -> None:
    assert ledger_moment(tag, "beta") is None


@pytest.mark.parametrize(
    "tag",
    [content_tag(A), date_tag(MOMENT), ledger_tag("beta", MOMENT), rollback_tag("beta", "0123456789abcdef")],
)
def test_some_tags_never_move(tag: str) -> None:
    assert is_immutable(tag)
    assert check_tag(tag) == tag
    with pytest.raises(ImageTagConflict, match=tag):
        must_write("r/x", tag, wanted=A, present=B, move=True)
    assert must_write("r/x", tag, wanted=A, present=None)
    assert not must_write("r/x", tag, wanted=A, present=A)


@pytest.mark.parametrize(
    "channel", ["", "-x", "a b", "x" * 120, "20260301-123005", "beta-20260301-123005", content_tag(A)]
)
def test_what_never_moves_or_is_no_tag_is_no_channel(channel: str) -> None:
    with pytest.raises(InvalidReference):
        check_channel(channel)


def test_promotions_are_sorted_newest_first() -> None:
    tags = ["beta", "beta-20260101-000000", "20260909-000000", "beta-20260301-000000", "b-0123456789abcdef"]
    assert [entry.tag for entry in promotions(tags, "beta")] == [
        "beta-20260301-000000",
        "beta-20260101-000000",
    ]


def test_two_promotions_in_one_second_get_two_tags() -> None:
    first = next_tag([], "beta", MOMENT)
    second = next_tag(promotions([first], "beta"), "beta", MOMENT)
    assert (first, second) == ("beta-20260301-123005", "beta-20260301-123006")


def test_previous_asks_no_further_than_needed() -> None:
    entries = promotions([ledger_tag("beta", MOMENT + timedelta(days=day)) for day in range(9)], "beta")
    digests = dict(zip((entry.tag for entry in entries), [A, A, B, B], strict=False))
    asked: list[str] = []

    def digest_of(tag: str) -> str | None:
        asked.append(tag)
        return digests[tag]

    found = previous(entries, A, digest_of)
    assert found == (entries[2], B)
    assert len(asked) == 3


def test_a_ledger_tag_that_vanished_is_passed_over() -> None:
    entries = promotions([ledger_tag("beta", MOMENT)], "beta")
    assert previous(entries, A, lambda tag: None) is None
