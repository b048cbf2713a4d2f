"""Chunks: they fit, lose nothing, tear nothing, and know where they were."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import (
    HashEmbedder,
    MarkdownChunker,
    OpenAIEmbedder,
    RecursiveChunker,
    SentenceChunker,
    VectorIndex,
    WholeText,
)
from airflow_provider_mlops.vector.chunking import Chunker, Piece, chunker_from_json, chunker_to_json
from airflow_provider_mlops.vector.documents import DocumentReader, UnusableRecord
from airflow_provider_mlops.vector.graphemes import is_boundary
from airflow_provider_mlops.vector.splitting import sentences

SIZED = (RecursiveChunker, SentenceChunker, MarkdownChunker)
FAMILY = "👨‍👩‍👧‍👦"
ACCENTED = "e\u0301"
ALPHABET = [
    *"ab.!# -|\n\t", "\r\n", "\r", "\n\n", "。", "東", ACCENTED, FAMILY, "👍🏽", "🇩🇪", "각", "น้ำ", "# ", "\n```\n", "Dr. ",
    "\u00a0", "\u2028",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=120).map("".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def tokens(texts: Sequence[str]) -> list[int]:
    """Like a subword tokenizer: two special tokens, and one for every four bytes of a word."""
    return [2 + sum(-(-len(word.encode()) // 4) for word in text.split()) for text in texts]


@st.composite
def chunkers(draw: st.DrawFn) -> Chunker:
    max_size = draw(st.integers(24, 80))
    return draw(st.sampled_from(SIZED))(
        max_size, draw(st.integers(0, max_size // 2 - 3)), draw(st.sampled_from([None, f"{__name__}:tokens"]))
    )


def size(chunker: Any, text: str) -> int:
    return tokens([text])[0] if chunker.tokenizer else len(text)


@settings(deadline=None)
@given(chunker=chunkers(), text=TEXTS | ANY_TEXT)
def test_chunks_fit_know_their_place_and_lose_nothing(chunker: Any, text: str) -> None:
    pieces = chunker.chunks(text)
    assert pieces == chunker.chunks(text)
    covered = 0
    for piece in pieces:
        assert 0 < size(chunker, piece.text) <= chunker.max_size
        assert text[piece.start : piece.end] == piece.text == piece.text.strip()
        assert not text[covered : piece.start].strip()
        assert piece.end > covered
        covered = piece.end
    assert not text[covered:].strip()


@settings(deadline=None)
@given(chunker=chunkers(), text=TEXTS)
def test_nothing_that_reads_as_one_character_is_torn(chunker: Any, text: str) -> None:
    # White space is stripped even from a mark that would stand on it.
    assume(not any(a.isspace() and unicodedata.category(b) == "Mn" for a, b in itertools.pairwise(text)))
    for piece in chunker.chunks(text):
        assert is_boundary(text, piece.start)
        assert is_boundary(text, piece.end)


@settings(deadline=None)
@given(chunker=chunkers(), text=TEXTS)
def test_overlap_is_bounded_and_chunks_begin_in_order(chunker: Any, text: str) -> None:
    pieces = chunker.chunks(text)
    for before, after in itertools.pairwise(pieces):
        assert before.start < after.start
        repeated = text[after.start : before.end]
        assert not repeated.strip() or size(chunker, repeated) <= chunker.overlap


@settings(deadline=None)
@given(text=ANY_TEXT)
def test_whole_text_is_one_chunk_or_none(text: str) -> None:
    assert [piece.text for piece in WholeText().chunks(text)] == ([text.strip()] if text.strip() else [])


def texts(chunker: Chunker, text: str) -> list[str]:
    return [piece.text for piece in chunker.chunks(text)]


def test_cuts_at_paragraphs_before_sentences_before_words() -> None:
    text = "One two three. Four five six.\r\n\r\nSeven eight nine."
    assert texts(RecursiveChunker(32, 0), text) == ["One two three. Four five six.", "Seven eight nine."]
    assert texts(RecursiveChunker(20, 0), text) == ["One two three.", "Four five six.", "Seven eight nine."]
    assert texts(RecursiveChunker(10, 0), "One two three.") == ["One two", "three."]


def test_overlap_repeats_the_end_from_a_word_on() -> None:
    assert texts(RecursiveChunker(20, 8), "alpha beta gamma delta epsilon") == [
        "alpha beta gamma",
        "gamma delta epsilon",
    ]


def test_overlap_of_sentences_is_whole_sentences() -> None:
    text = "One is one. Two is two. Three is three. Four is four."
    assert texts(SentenceChunker(36, 14), text) == [
        "One is one. Two is two.",
        "Two is two. Three is three.",
        "Four is four.",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He met Dr. Smith. She left.", ["He met Dr. Smith.", "She left."]),
        ("It is e.g. this one. And that.", ["It is e.g. this one.", "And that."]),
        ("By J. R. Tolkien. A book.", ["By J. R. Tolkien.", "A book."]),
        ("Wait... what? Yes!", ["Wait... what?", "Yes!"]),
        ('"Really?" He nodded. (It was so.) End.', ['"Really?"', "He nodded.", "(It was so.)", "End."]),
        ("今日は晴れ。明日は雨！", ["今日は晴れ。", "明日は雨！"]),
        ("Version 3.11 is out. Get it.", ["Version 3.11 is out.", "Get it."]),
        ("A heading\n\nand text. More.", ["A heading", "and text.", "More."]),
        ("Eins z. B. zwei. Drei.", ["Eins z. B. zwei.", "Drei."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    cuts = [0, *sentences(text, (0, len(text))), len(text)]
    assert [text[start:end].strip() for start, end in itertools.pairwise(cuts)] == expected


def test_text_without_spaces_is_cut_between_characters_as_readers_see_them() -> None:
    assert texts(RecursiveChunker(5, 0), ACCENTED * 4) == [ACCENTED * 2] * 2
    assert texts(RecursiveChunker(15, 0), FAMILY * 4) == [FAMILY * 2] * 2
    assert texts(RecursiveChunker(3, 0), "東京都庁舎") == ["東京都", "庁舎"]
    assert texts(RecursiveChunker(4, 2), "abcdefgh") == ["abcd", "cdef", "efgh"]


def test_a_character_that_is_larger_than_a_chunk_is_cut_after_all() -> None:
    pieces = texts(RecursiveChunker(4, 0), "a" + "\u0301" * 10)
    assert "".join(pieces) == "a" + "\u0301" * 10
    assert max(map(len, pieces)) == 4


@pytest.mark.parametrize("kind", SIZED)
@pytest.mark.parametrize("line", ["x" * 200_000, "word " * 40_000, ACCENTED * 100_000, "東" * 200_000])
def test_very_long_lines_are_measured_a_bounded_number_of_times(kind: Any, line: str) -> None:
    measured.clear()
    pieces = kind(400, 40, f"{__name__}:counted").chunks(line)
    assert pieces[-1].end >= len(line) - 1
    assert sum(measured) < 60 * len(line)


measured: list[int] = []


def counted(texts: Sequence[str]) -> list[int]:
    measured.extend(map(len, texts))
    return tokens(texts)


MARKDOWN = """---
title: Guide
---
Before all headings.

# Guide

## Install

Run this:

```
# no heading
pip install it
```

| a | b |
|---|---|
| 1 | 2 |

Linux `only`
------------

Details.

# Next
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_markdown_sections_keep_the_path_of_their_headings(line_end: str) -> None:
    text = MARKDOWN.replace("\n", line_end)
    pieces = MarkdownChunker(200).chunks(text)
    assert [(piece.headings, piece.text.splitlines()[0]) for piece in pieces] == [
        ((), "---"),
        (("Guide", "Install"), "# Guide"),
        (("Guide", "Linux `only`"), "Linux `only`"),
        (("Next",), "# Next"),
    ]
    assert pieces[1].text.endswith("| 1 | 2 |")


def test_markdown_blocks_stay_whole_where_they_fit() -> None:
    pieces = texts(MarkdownChunker(50), MARKDOWN)
    assert "```\n# no heading\npip install it\n```" in pieces
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in pieces


def test_tokens_of_the_embedder_bound_the_chunks() -> None:
    embedder = OpenAIEmbedder("m", 8, tokenizer=f"{__name__}:tokens")
    chunker = RecursiveChunker(10, 0, tokenizer="embedder")
    index = VectorIndex("Docs", embedder=embedder, chunker=chunker)
    chunks = DocumentReader(index).chunks({"id": 1, "text": "word " * 100})
    assert {tokens([chunk.text])[0] for chunk in chunks} == {10, 6}
    with pytest.raises(InvalidArgument, match="HashEmbedder counts no tokens"):
        VectorIndex("Docs", embedder=HashEmbedder(), chunker=chunker)
    with pytest.raises(InvalidArgument, match="9000 tokens are longer than the 8192"):
        VectorIndex("Docs", embedder=embedder, chunker=RecursiveChunker(9000, tokenizer="embedder"))
    with pytest.raises(InvalidArgument, match="counts no tokens"):
        chunker.chunks("some text")


def test_place_and_headings_become_properties_where_they_are_wanted() -> None:
    properties = {"chunk_start": "int", "chunk_end": "int", "chunk_headings": "text", "title": "text"}
    index = VectorIndex("Docs", chunker=MarkdownChunker(), properties=properties)
    text = "# A\n\none\n\n## B\n\ntwo"
    first, second = DocumentReader(index).chunks(
        {"id": "x", "text": text, "title": "t", "chunk_start": "ignored"}
    )
    assert first.properties == {"title": "t", "chunk_start": 0, "chunk_end": 8, "chunk_headings": "A"}
    assert second.properties == {"title": "t", "chunk_start": 10, "chunk_end": 19, "chunk_headings": "A > B"}
    plain = VectorIndex("Docs", chunker=MarkdownChunker())
    assert [chunk.properties for chunk in DocumentReader(plain).chunks({"id": "x", "text": text})] == [{}, {}]
    # An id depends on the document and the chunk's text, on nothing else.
    assert [chunk.id for chunk in DocumentReader(plain).chunks({"id": "x", "text": text})] == [
        first.id,
        second.id,
    ]
    with pytest.raises(InvalidArgument, match="filled in by the chunker"):
        VectorIndex("Docs", properties={"chunk_start": "text"})


def test_empty_documents_have_no_chunks() -> None:
    for chunker in (WholeText(), *(kind() for kind in SIZED)):
        assert [chunker.chunks(text) for text in ("", " \r\n\t ")] == [[], []]
    assert WholeText().chunks("  a b \n") == [Piece("a b", 2, 5)]


def test_json_and_refusals() -> None:
    for chunker in (WholeText(), *(kind(100, 10, "a.b:c") for kind in SIZED)):
        assert chunker_from_json(json.loads(json.dumps(chunker_to_json(chunker)))) == chunker
    for broken in ({"type": "nope"}, {"type": "recursive", "length": 1}):
        with pytest.raises(InvalidArgument):
            chunker_from_json(broken)
    for kind in SIZED:
        with pytest.raises(InvalidArgument, match="overlap"):
            kind(100, 51)
        with pytest.raises(InvalidArgument, match="Tokenizer"):
            kind(tokenizer="gpt-4")


@pytest.mark.parametrize("field", ["id", "text", "title"])
def test_half_a_surrogate_pair_is_an_unusable_record(field: str) -> None:
    index = VectorIndex("Docs", properties={"title": "text"})
    record = {"id": "x", "text": "some text", "title": "t", field: json.loads('"a \\ud83d b"')}
    with pytest.raises(UnusableRecord, match=f"'{field}' is not valid Unicode"):
        DocumentReader(index).chunks(record)
