"""Log bytes become lines: nothing lost, nothing twice, whatever the cuts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.gitlab.log_text import (
    LogPosition,
    find_continuation,
    is_last_word,
    plain,
    render,
    take_lines,
)

STAMP = "2026-01-01T01:00:00.020010Z "


def read_all(log: bytes, cuts: list[int]) -> tuple[list[str], LogPosition]:
    """Read a growing log: at each cut, take what is whole; at the end, the rest."""
    position, shown = LogPosition(), []
    for cut in [*sorted(cuts), None]:
        available = log[position.offset : cut] if cut is not None else log[position.offset :]
        lines, used = take_lines(available, ended=cut is None)
        text, sections = render(lines, "[j]", position.sections)
        del sections
        shown += text
        position = position.after(available[:used], position.offset + used)
    return shown, position


bodies = st.lists(
    st.tuples(st.sampled_from(["00O ", "00O+", "01E ", "01E+"]), st.text("aé€𝄞 \t", max_size=12)), max_size=25
)


@given(bodies, st.lists(st.integers(0, 2000), max_size=8), st.booleans(), st.booleans())
def test_cuts_anywhere_give_the_lines_of_one_read(
    body: list[tuple[str, str]], cuts: list[int], stamped: bool, newline_at_end: bool
) -> None:
    log = "\n".join((STAMP + stream + text) if stamped else text for stream, text in body).encode()
    log += b"\n" if newline_at_end else b""
    lines, position = read_all(log, [cut for cut in cuts if cut <= len(log)])
    assert lines == read_all(log, [])[0]
    assert position.offset == len(log)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x1b\x9b"), max_size=40)))
def test_plain_lines_come_out_as_they_went_in(texts: list[str]) -> None:
    log = "".join(text + "\n" for text in texts).encode()
    lines, _ = read_all(log, list(range(0, len(log), 3)))
    assert lines == [f"[j] {text.rstrip() if text.strip() else ''}".rstrip() for text in texts]


def test_a_continued_line_is_joined_even_inside_a_character() -> None:
    euro = "€".encode()
    log = (
        STAMP.encode() + b"00O cost 5 " + euro[:1] + b"\n" + STAMP.encode() + b"00O+" + euro[1:] + b" today\n"
    )
    assert read_all(log, [])[0] == ["[j] cost 5 € today"]
    assert read_all(log, list(range(len(log))))[0] == ["[j] cost 5 € today"]


def test_a_stamped_line_waits_for_its_continuation_until_it_is_settled() -> None:
    log = f"{STAMP}00O one\n{STAMP}00O two\n".encode()
    lines, used = take_lines(log, ended=False)
    assert lines == [b"one"]
    assert take_lines(log[used:], ended=False, settled=True)[0] == [b"two"]


def test_an_overlong_line_is_cut_between_characters() -> None:
    data = "x€".encode() * 100 + "€".encode()[:2]
    lines, used = take_lines(data, ended=False, overlong=True)
    assert used == len(data) - 2
    assert lines[0].decode() == "x€" * 100


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[32;1mgreen\x1b[0;m text", "green text"),
        ("10%\r50%\r100%\r", "100%"),
        ("\x1b]0;title\x07words", "words"),
        ("key=[MASKED]", "key=[MASKED]"),
        ("  indented", "  indented"),
        ("\r", ""),
    ],
)
def test_control_sequences_and_progress_bars_are_resolved(raw: str, shown: str) -> None:
    assert plain(raw) == shown


def section(kind: str, name: str, header: str = "", options: str = "") -> bytes:
    return f"\x1b[0Ksection_{kind}:1560896352:{name}{options}\r\x1b[0K{header}".encode()


def test_sections_fold_and_inner_ones_become_lines() -> None:
    lines = [
        section(
            "start", "step_script", "\x1b[36;1mExecuting step\x1b[0;m", "[collapsed=true,hide_duration=true]"
        ),
        b"$ make",
        section("start", "inner", "Inside"),
        b"in",
        section("end", "inner"),
        section("end", "step_script") + section("start", "upload", "Uploading"),
    ]
    shown, still_open = render(lines, "[b/j]", ())
    assert shown == [
        "::group::[b/j] Executing step",
        "[b/j] $ make",
        "[b/j] Inside",
        "[b/j] in",
        "::endgroup::",
        "::group::[b/j] Uploading",
        "::endgroup::",
    ]
    assert still_open == ("Uploading",)


def test_a_section_that_goes_on_later_is_a_group_of_its_own() -> None:
    first, still_open = render([section("start", "s", "Head"), b"one"], "[j]", ())
    second, nothing_open = render([b"two", section("end", "s")], "[j]", still_open)
    assert first == ["::group::[j] Head", "[j] one", "::endgroup::"]
    assert second == ["::group::[j] Head (continued)", "[j] two", "::endgroup::"]
    assert nothing_open == ()


@given(st.binary(min_size=1, max_size=600), st.integers(-40, 40), st.data())
def test_the_place_is_found_again_when_the_log_moved(log: bytes, shift: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(1, len(log)))
    position = LogPosition().after(log[:offset], offset)
    moved = b"#" * shift + log if shift >= 0 else log[-shift:]
    found = find_continuation(moved, position, offset)
    if offset + shift >= position.tail:
        assert found is not None
        assert moved[found - position.tail : found] == log[offset - position.tail : offset]
    if shift == 0:
        assert found == offset


def test_a_log_that_lost_the_place_is_not_continued_blindly() -> None:
    position = LogPosition().after(b"some words that were read", 25)
    assert find_continuation(b"", position, 25) is None
    assert find_continuation(b"something else entirely, and longer than before", position, 25) is None


def test_a_position_survives_json() -> None:
    position = LogPosition(sections=("Head",)).after(b"abc", 3)
    assert LogPosition.from_json(position.to_json()) == position


@pytest.mark.parametrize("line", [b"\x1b[32;1mJob succeeded\x1b[0;m", b"ERROR: Job failed: exit code 1"])
def test_the_runners_last_words_are_known(line: bytes) -> None:
    assert is_last_word(line)
    assert not is_last_word(b"echo " + line)
