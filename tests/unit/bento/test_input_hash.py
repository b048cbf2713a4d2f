from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_mlops.bento.build_request import BuildRequest, is_tag_part
from airflow_provider_mlops.bento.context_folder import ContextFolder, SourceFile
from airflow_provider_mlops.bento.input_hash import automatic_version, input_hash, tree_hash

REQUEST = BuildRequest(context="/here")
FILES = (SourceFile("a.py", False, "1" * 64), SourceFile("service.py", False, "2" * 64))
CONTEXT = ContextFolder(
    Path("/here"), None, {"include": ["*"], "labels": {"a": 1, "b": 2}}, "service.py", "search", FILES
)
VERSIONS = {"bentoml": "1.4.39", "python": "3.11.7"}


def of(request=REQUEST, context=CONTEXT, models=None, **versions):
    return input_hash(request, context, models or {"classifier": "3" * 64}, **{**VERSIONS, **versions})


def test_the_hash_is_pinned_so_that_a_release_of_this_package_does_not_rebuild_everything_unawares():
    # Changes on purpose only, together with SCHEMA.
    assert of() == "904b25f16489ea23b50d39f1c4d23ef4a9f911c6ec38f9f28743e8b67073262a"


def test_where_the_context_lies_and_where_a_model_comes_from_do_not_count():
    elsewhere = replace(CONTEXT, folder=Path("/elsewhere"), bentofile=Path("/elsewhere/bentofile.yaml"))
    request = replace(REQUEST, context="/elsewhere", models={"classifier": "s3://elsewhere"})
    assert of(request, elsewhere) == of()


def test_the_order_of_files_and_options_does_not_count():
    shuffled = replace(CONTEXT, files=FILES[::-1], options={"labels": {"b": 2, "a": 1}, "include": ["*"]})
    assert of(context=shuffled) == of()


@pytest.mark.parametrize(
    "changed",
    [
        of(replace(REQUEST, labels={"team": "search"})),
        of(replace(REQUEST, args={"size": 1})),
        of(replace(REQUEST, lock="on")),
        of(replace(REQUEST, version="1.0")),
        of(context=replace(CONTEXT, service="other.py")),
        of(context=replace(CONTEXT, name="other")),
        of(context=replace(CONTEXT, options={})),
        of(context=replace(CONTEXT, files=FILES[:1])),
        of(context=replace(CONTEXT, files=(FILES[0], replace(FILES[1], executable=True)))),
        of(context=replace(CONTEXT, files=(FILES[0], replace(FILES[1], sha256="9" * 64)))),
        of(context=replace(CONTEXT, files=(FILES[0], replace(FILES[1], path="renamed.py")))),
        of(models={"classifier": "4" * 64}),
        of(models={"other": "3" * 64}),
        of(bentoml="1.4.40"),
        of(python="3.12.1"),
    ],
)
def test_whatever_changes_the_archive_changes_the_hash(changed):
    assert changed != of()


def test_options_that_json_does_not_know_are_hashed_as_text():
    options = {"labels": {1: datetime.date(2026, 1, 1), "b": None, "c": 1.5}}
    assert of(context=replace(CONTEXT, options=options)) != of()


def test_an_automatic_version_is_a_legal_tag():
    version = automatic_version(of())
    assert is_tag_part(version)
    assert len(version) == 18


def test_a_tree_is_its_paths_and_contents():
    assert tree_hash(FILES) == tree_hash(FILES[::-1])
    assert tree_hash(FILES) != tree_hash(FILES[:1])
