from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.mlflow.reference import ModelReference, ResolvedModel, is_reference


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("models:/docs@champion", {"name": "docs", "alias": "champion"}),
        ("models:/My model.v2@a-b", {"name": "My model.v2", "alias": "a-b"}),
        ("models:/docs/12", {"name": "docs", "version": "12"}),
        ("runs:/abc123/model", {"run_id": "abc123", "path": "model"}),
        ("runs:/abc123/deep/er/model.pkl", {"run_id": "abc123", "path": "deep/er/model.pkl"}),
    ],
)
def test_references_are_read(text: str, parts: dict[str, Any]) -> None:
    assert is_reference(text)
    assert ModelReference.parse(text) == ModelReference(text, **parts)


@pytest.mark.parametrize(
    "text",
    [
        "models:/docs",
        "models:/docs/Production",
        "models:/docs/latest",
        "models:/docs@champion/weights",
        "models:/m-0123456789abcdef0123456789abcdef",
        "models://databricks/docs/1",
        "models:/user:pw@host/1",
        "runs:/abc123",
        "runs:/abc123/",
        "runs:/abc123/model/",
        "runs:/abc123/../other/model",
    ],
)
def test_other_forms_are_refused_with_those_that_are_taken(text: str) -> None:
    assert is_reference(text)
    with pytest.raises(InvalidArgument, match="not a reference") as caught:
        ModelReference.parse(text)
    assert "models:/<name>@<alias>" in str(caught.value)


@pytest.mark.parametrize("place", ["s3://bucket/models:/x", "/srv/models", "file:///runs", "models", ""])
def test_places_are_not_taken_for_references(place: str) -> None:
    assert not is_reference(place)


def test_what_is_kept_with_the_files_is_what_no_alias_can_move() -> None:
    run = ResolvedModel("runs:/1/m", "http://m", None, None, "1", "s3://b/1/m")
    assert run.concrete == "runs:/1/m"
    assert run.origin() == {
        "system": "mlflow",
        "tracking_uri": "http://m",
        "run_id": "1",
        "source": "s3://b/1/m",
    }
    version = ResolvedModel("models:/docs@champion", "http://m", "docs", "3", None, "s3://b/1/m")
    assert version.concrete == "models:/docs/3"
    assert "champion" not in str(version.origin())
