"""The log's format, apart from any job."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.testing.gitlab.trace import Trace

PREFIX = re.compile(rb"^\d{4}-\d\d-\d\dT[\d:.]+Z [0-9a-f]{2}[OE][ +]")


def test_every_line_carries_a_prefix_of_32_bytes():
    trace = Trace()
    trace.write("one\ntwo\n")
    trace.write("three\n", "E")

    lines = trace.window().splitlines()

    assert [line[32:] for line in lines] == [b"one", b"two", b"three"]
    assert all(PREFIX.fullmatch(line[:32]) for line in lines)


def test_masked_values_are_hidden_even_when_written_in_pieces():
    trace = Trace(timestamps=False)
    trace.mask(["secret", "secret-longer"])
    trace.write("a sec")
    trace.write("ret b secret-longer\n")

    assert trace.window() == b"a [MASKED] b [MASKED]\n"


def test_past_the_limit_one_line_tells_and_the_rest_is_dropped():
    trace = Trace(timestamps=False, limit=10)
    for number in range(1000):
        trace.write(f"line {number}\n")

    assert trace.window().startswith(b"line 0\nline 1\n")
    assert trace.window().count(b"exceeded limit of 10 bytes") == 1
    assert len(trace) < 100


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from("OE")), max_size=20))
def test_each_streams_output_can_be_put_together_again(writes):
    trace = Trace()
    for data, stream in writes:
        trace.write(data, stream)
    trace.flush()
    whole = trace.window()

    found = {"O": b"", "E": b""}
    position = 0
    for match in re.finditer(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z 00([OE])([ +])([^\n]*)\n", whole):
        assert match.start() == position
        position = match.end()
        stream = match[1].decode()
        if match[2] == b"+":
            found[stream] = found[stream].removesuffix(b"\n")
        found[stream] += match[3] + b"\n"

    assert position == len(whole)
    for stream, text in found.items():
        written = b"".join(data for data, name in writes if name == stream)
        assert text.removesuffix(b"\n") == written.removesuffix(b"\n")


@given(st.binary(max_size=50), st.integers(0, 60), st.integers(1, 60))
def test_windows_are_slices(data, offset, limit):
    trace = Trace(timestamps=False)
    trace.append_raw(data)

    assert trace.window(offset, limit) == data[offset : offset + limit]
