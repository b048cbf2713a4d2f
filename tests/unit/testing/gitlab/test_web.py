"""Pages, parameters and knobs, apart from sockets."""

from __future__ import annotations

import pytest

from airflow_provider_mlops.testing.gitlab import Knobs, scenario_json
from airflow_provider_mlops.testing.gitlab.scripted import Fail, Log
from airflow_provider_mlops.testing.gitlab.web import ApiError, Request, paged, parse_parameters


def _request(query: str) -> Request:
    return Request("GET", "/api/v4/rows", query, {}, parse_parameters(query, "", b""))


@pytest.mark.parametrize(("count", "counted"), [(10_000, True), (10_001, False)])
def test_long_lists_are_not_counted_and_only_the_page_is_rendered(count, counted):
    rendered = []

    answer = paged(_request("per_page=2&page=3"), range(count), "http://gitlab", rendered.append)

    assert rendered == [4, 5]
    assert ("X-Total" in answer.headers) is counted
    assert ('rel="last"' in answer.headers["Link"]) is counted
    assert answer.headers["X-Next-Page"] == "4"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a=1&a=2", {"a": "2"}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[x]=1&a[y]=2", {"a": {"x": "1", "y": "2"}}),
        ("a[][k]=1&a[][v]=2&a[][k]=3", {"a": [{"k": "1", "v": "2"}, {"k": "3"}]}),
        ("a=", {"a": ""}),
    ],
)
def test_parameters_nest_as_in_rails(query, expected):
    assert parse_parameters(query, "", b"") == expected
    assert parse_parameters("", "application/x-www-form-urlencoded", query.encode()) == expected


@pytest.mark.parametrize(("kind", "body"), [("application/json", b"{"), ("application/json", b"[1]")])
def test_a_body_that_is_no_object_is_refused(kind, body):
    with pytest.raises(ApiError) as refused:
        parse_parameters("", kind, body)

    assert refused.value.status == 400


def test_knobs_take_values_of_their_kind_and_change_all_or_none():
    knobs = Knobs()
    knobs.set(canceling_for=1, concurrent=2, statuses={1: "odd"})

    for wrong in ({"trace_windows": 1}, {"concurrent": True}, {"version": 1}, {"list_lag": "1"}):
        with pytest.raises(TypeError):
            knobs.set(pending_for=9.0, **wrong)

    assert (knobs.pending_for, knobs.canceling_for, knobs.concurrent) == (0.0, 1, 2)


def test_scenarios_are_read_from_json():
    scenario = scenario_json.read({"a": [{"log": "x"}], "b": [[{"fail": {"reason": "r"}}], []]})

    assert scenario.jobs["a"].attempts == [[Log("x")]]
    assert scenario.jobs["b"].attempts == [[Fail("r")], []]
