from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.bento.build_request import BuildRequest, is_tag_part, tag_part_from
from airflow_provider_mlops.errors import InvalidArgument


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"context": ""}, "context"),
        ({"name": "Docs Search"}, "Docs Search"),
        ({"version": "manual__2026-01-01T00:00:00+00:00"}, "manual__"),
        ({"version": "v" * 64}, "version"),
        ({"models": {"My Model": "/m"}}, "My Model"),
        ({"models": {"classifier": ""}}, "classifier"),
        ({"labels": {"team": 7}}, "team"),
        ({"lock": "maybe"}, "maybe"),
        ({"args": {"when": object()}}, "args"),
    ],
)
def test_a_request_that_bentoml_would_refuse_is_refused_and_named(fields, named):
    with pytest.raises(InvalidArgument, match=named):
        BuildRequest(**{"context": "/service", **fields})


def test_a_request_is_json_and_cannot_change():
    request = BuildRequest(
        context="/service", models={"classifier": "s3://models/1"}, labels={"team": "search"}
    )
    assert json.loads(json.dumps(request.to_json()))["models"] == {"classifier": "s3://models/1"}
    with pytest.raises(FrozenInstanceError):
        request.name = "other"  # type: ignore[misc]


@given(st.text(max_size=100))
def test_a_name_made_from_any_text_is_legal_or_empty(text):
    name = tag_part_from(text)
    assert name == "" or is_tag_part(name)


def test_a_folder_name_stays_readable():
    assert tag_part_from("Docs-Search (v2)") == "docs_search_v2"
