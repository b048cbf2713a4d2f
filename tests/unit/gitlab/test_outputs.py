"""Named outputs: where they come from, and what is refused."""

from __future__ import annotations

import json

import pytest

from airflow_provider_mlops.gitlab.errors import OutputInvalid, OutputMissing, OutputUnreadable
from airflow_provider_mlops.gitlab.outputs import (
    MAX_FILE,
    MAX_VALUE,
    RESERVED,
    Output,
    find_job,
    parse_outputs,
    read_value,
)

IMAGE = json.dumps({"image": "r/x@sha256:1", "tags": ["a", "b"], "a/b": {"m~n": None}}).encode()


@pytest.mark.parametrize(
    ("source", "content", "value"),
    [
        ("publish:image.json#/image", IMAGE, "r/x@sha256:1"),
        ("publish:out/image.json#/tags/1", IMAGE, "b"),
        ("publish:image.json#/a~1b/m~0n", IMAGE, None),
        ("publish:image.json", b"[1, 2]", [1, 2]),
        ("build:build.env", b"TAG=1.2\nURL=http://x/?a=b\n\n", {"TAG": "1.2", "URL": "http://x/?a=b"}),
        ("build:build.env#/TAG", b"TAG=1.2\n", "1.2"),
        ("test:summary.txt", "größe\n".encode(), "größe"),
        ("test:data#/x", b'{"x": 1}', 1),
    ],
)
def test_a_value_is_read(source: str, content: bytes, value: object) -> None:
    assert read_value(Output.parse("out", source), content) == value


def test_a_job_name_may_hold_colons() -> None:
    assert Output.parse("x", "build: [amd64, 3.11]:a/b.json#/c") == Output(
        "x", "build: [amd64, 3.11]", "a/b.json", "/c"
    )


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_payload_keys_are_reserved(name: str) -> None:
    with pytest.raises(OutputInvalid, match="payload"):
        parse_outputs({name: "j:f.json"})


@pytest.mark.parametrize(
    "source", ["", "job", "job:", ":f", "job:/etc/passwd", "job:../f", "job:f.json#x", 3]
)
def test_malformed_sources_are_refused(source: str) -> None:
    with pytest.raises(OutputInvalid, match="out"):
        Output.parse("out", source)


@pytest.mark.parametrize("name", ["", "1x", "a b", "a/b"])
def test_names_that_no_xcom_can_have_are_refused(name: str) -> None:
    with pytest.raises(OutputInvalid):
        Output.parse(name, "j:f.json")


@pytest.mark.parametrize("pointer", ["/nothing", "/tags/2", "/tags/01", "/tags/-", "/image/x"])
def test_a_pointer_to_nothing_is_a_missing_output(pointer: str) -> None:
    with pytest.raises(OutputMissing, match=r"image\.json"):
        read_value(Output.parse("out", f"publish:image.json#{pointer}"), IMAGE)


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("j:f.json", b"{"),
        ("j:f.json", b"\xff\xfe"),
        ("j:f.env", b"no equals sign"),
        ("j:f.txt", b"x" * (MAX_VALUE + 1)),
        ("j:f.txt", b"x" * (MAX_FILE + 1)),
    ],
)
def test_unreadable_files_are_named(source: str, content: bytes) -> None:
    with pytest.raises(OutputUnreadable, match="out"):
        read_value(Output.parse("out", source), content)


def test_a_missing_job_lists_the_jobs_there_are() -> None:
    with pytest.raises(OutputMissing, match="build, test"):
        find_job(Output.parse("out", "publish:image.json"), {"test": 2, "build": 1})


@pytest.mark.parametrize("written", ["down > inner", "down>inner", "down  >inner"])
def test_a_job_of_a_downstream_pipeline_stands_behind_its_trigger_job(written: str) -> None:
    output = Output.parse("out", f"{written}:image.json#/digest")
    assert find_job(output, ["build", "down > inner"]) == "down > inner"


def test_a_job_whose_own_name_has_an_arrow_comes_first() -> None:
    assert find_job(Output.parse("out", "a>b:x.json"), ["a>b", "a > b"]) == "a>b"


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("publish:image.json#/digest", "there are: 'a/b', 'image', 'tags'"),
        ("publish:image.json#/tags/2", "there is a list of 2"),
        ("publish:image.json#/image/x", "there is a value of type str"),
        ("build:build.env#/MISSING", "there are: 'TAG'"),
    ],
)
def test_a_missing_pointer_says_what_is_there_but_not_its_values(source: str, there: str) -> None:
    content = b"TAG=s3cret" if "env" in source else IMAGE
    with pytest.raises(OutputMissing, match=there) as raised:
        read_value(Output.parse("out", source), content)
    assert "s3cret" not in str(raised.value)
    assert "sha256" not in str(raised.value)
