from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.oci.errors import InvalidReference
from airflow_provider_mlops.oci.reference import Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("registry.example.com/ml/search", "registry.example.com/ml/search", None, None),
        ("registry.example.com/ml/search:v1", "registry.example.com/ml/search", "v1", None),
        ("registry.example.com:5000/search", "registry.example.com:5000/search", None, None),
        (f"registry.example.com:5000/search:v1@{DIGEST}", "registry.example.com:5000/search", "v1", DIGEST),
        ("localhost/search:v1", "localhost/search", "v1", None),
        (f"file:///srv/images/search@{DIGEST}", "file:///srv/images/search", None, DIGEST),
        ("file:///srv/images/search:v1", "file:///srv/images/search", "v1", None),
        ("file:///srv/images/search/", "file:///srv/images/search", None, None),
    ],
)
def test_references_are_read_and_written_back(
    text: str, repository: str, tag: str | None, digest: str | None
) -> None:
    found = Reference.parse(text)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "search",
        "search:v1",
        "registry.example.com/",
        "registry.example.com/Search",
        "registry.example.com/search:",
        "registry.example.com/search:-x",
        "registry.example.com/search@sha256:abc",
        f"registry.example.com/search@md5:{'a' * 32}",
        "registry.example.com/../search",
        "https://registry.example.com/search",
        "user:secret@registry.example.com/search",
        "file://relative/search",
        "file:///srv/../etc",
        "file:///",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


@pytest.mark.parametrize("location", ["registry.example.com:5000", "file:///srv/images"])
def test_a_reference_without_a_host_lies_in_the_location(location: str) -> None:
    found = Reference.parse("ml/search:v1", location=location)
    assert found.repository == f"{location}/ml/search"
    assert found.tag == "v1"


def test_a_digest_beats_a_tag() -> None:
    assert Reference.parse(f"localhost/search:v1@{DIGEST}").selector == DIGEST


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(found)) == found
