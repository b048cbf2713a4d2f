from __future__ import annotations

import pytest

from airflow_provider_mlops.vector.errors import TooManyBadRecords, TooManyDeletes
from airflow_provider_mlops.vector.stores.base import Version, is_version_name, version_name
from airflow_provider_mlops.vector.sync_plan import (
    check_bad,
    check_deletes,
    comparable,
    next_number,
    superfluous,
    unfinished,
)

FP = "abcdef0123456789"


def version(number: int, state: str = "built", fingerprint: str = FP) -> Version:
    return Version(version_name(number, fingerprint), "physical", state)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gone", "limit", "refused"), [(2, 0.2, False), (3, 0.2, True), (1, 0.0, True), (10, 1.0, False)]
)
def test_fuse_blows_above_the_fraction(gone: int, limit: float, refused: bool) -> None:
    if not refused:
        check_deletes("Docs", gone, 10, "doc0", limit)
        return
    with pytest.raises(TooManyDeletes, match=f"{gone} of 10 .*'doc0'") as caught:
        check_deletes("Docs", gone, 10, "doc0", limit)
    assert caught.value.missing == gone


def test_nothing_to_lose_blows_no_fuse() -> None:
    check_deletes("Docs", 0, 0, "", 0.0)


def test_bad_records_up_to_the_fraction() -> None:
    check_bad("Docs", 0, 0, 0.0, "")
    check_bad("Docs", 1, 100, 0.01, "line 3")
    with pytest.raises(TooManyBadRecords, match=r"2 of 100.*line 3"):
        check_bad("Docs", 2, 100, 0.01, "line 3")


def test_sync_starts_from_the_live_version_then_the_newest_alike() -> None:
    other = version(5, fingerprint="0" * 8)
    versions = [version(7, "rejected"), version(6), other, version(4), version(3)]
    assert comparable(versions, version(3), FP) == [version(3), version(6)]
    assert comparable(versions, version(6), FP) == [version(6)]
    assert comparable(versions, other, FP) == [version(6)]
    assert comparable(versions, None, FP) == [version(6)]
    assert comparable([other], other, FP) == []


def test_only_an_attempt_newer_than_everything_finished_is_gone_on_with() -> None:
    assert unfinished([version(3, "building"), version(2)], FP) == version(3, "building")
    assert unfinished([version(3, "rejected"), version(2)], FP) == version(3, "rejected")
    assert unfinished([version(3), version(2, "building")], FP) is None
    assert unfinished([version(3, "building", "0" * 8), version(2, "building")], FP) == version(2, "building")


def test_live_and_current_versions_are_never_superfluous() -> None:
    versions = [
        version(9, "building"),
        version(8),
        version(7, "rejected"),
        version(6),
        version(5),
        version(2),
    ]
    gone = superfluous(versions, version(2), version(8), keep=1)
    assert gone == [version(7, "rejected"), version(6), version(5)]
    assert superfluous(versions, version(2), version(2), keep=1) == [version(6), version(5)]
    assert superfluous(versions, None, version(8), keep=4) == [version(7, "rejected")]


def test_numbers_go_up() -> None:
    assert next_number([]) == 1
    assert next_number([version(12, "rejected"), version(9)]) == 13
    assert is_version_name(version_name(13, FP))
    assert not is_version_name("live")
    assert (version(13).number, version(13).fingerprint8) == (13, FP[:8])
