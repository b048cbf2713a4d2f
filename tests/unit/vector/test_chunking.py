from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import RecursiveChunker, WholeText
from airflow_provider_mlops.vector.chunking import chunker_from_json, chunker_to_json

TEXTS = st.text(alphabet=st.sampled_from("ab. \n"), max_size=400)


@given(text=TEXTS, max_chars=st.integers(4, 60))
def test_chunks_fit_and_lose_nothing(text: str, max_chars: int) -> None:
    chunks = RecursiveChunker(max_chars, overlap=0).chunks(text)
    assert all(0 < len(chunk) <= max_chars for chunk in chunks)
    assert "".join("".join(chunks).split()) == "".join(text.split())


@given(text=TEXTS, max_chars=st.integers(4, 60), data=st.data())
def test_overlapping_chunks_fit_and_lose_nothing(text: str, max_chars: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, max_chars // 2))
    chunks = RecursiveChunker(max_chars, overlap).chunks(text)
    assert all(0 < len(chunk) <= max_chars for chunk in chunks)
    for word in text.split():
        if len(word) <= max_chars - overlap:
            assert any(word in chunk for chunk in chunks)


def test_cuts_at_paragraphs_before_sentences_before_words() -> None:
    text = "One two three. Four five six.\n\nSeven eight nine."
    assert RecursiveChunker(32, 0).chunks(text) == ["One two three. Four five six.", "Seven eight nine."]
    assert RecursiveChunker(20, 0).chunks(text) == ["One two three.", "Four five six.", "Seven eight nine."]


def test_overlap_repeats_the_end_from_a_word_on() -> None:
    assert RecursiveChunker(20, 8).chunks("alpha beta gamma delta epsilon") == [
        "alpha beta gamma",
        "gamma delta epsilon",
    ]


def test_whole_text() -> None:
    assert WholeText().chunks("  a b \n") == ["a b"]
    assert WholeText().chunks(" \n") == []


def test_json_and_refusals() -> None:
    for chunker in (WholeText(), RecursiveChunker(100, 10)):
        assert chunker_from_json(chunker_to_json(chunker)) == chunker
    for broken in ({"type": "nope"}, {"type": "recursive", "size": 1}):
        with pytest.raises(InvalidArgument):
            chunker_from_json(broken)
    with pytest.raises(InvalidArgument, match="overlap"):
        RecursiveChunker(100, 51)
