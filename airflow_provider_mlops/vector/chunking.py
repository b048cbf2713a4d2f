"""Chunkers: a document's text cut into the pieces that are embedded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.markdown import sections
from airflow_provider_mlops.vector.splitting import (
    Level,
    Measure,
    Span,
    lines,
    measure_characters,
    pack,
    paragraphs,
    sentences,
    split,
    words,
)
from airflow_provider_mlops.vector.tokens import CountTokens, check_tokenizer, token_counter

#: Name of the tokenizer that counts as the index's embedder does.
EMBEDDER = "embedder"


class Piece(NamedTuple):
    """A part of a text: ``text[start:end]``, places counted in characters (code points).

    :param headings: what it stands under, outermost first, where the chunker knows.
    """

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()


class Chunker(Protocol):
    """Cuts a text; frozen dataclasses, part of the index's fingerprint."""

    def identity(self) -> Mapping[str, Any]:
        """JSON object that says all that the chunks depend on."""

    def chunks(self, text: str, count: CountTokens | None = None) -> list[Piece]:
        """The pieces in order, without surrounding white space; an empty text gives none.

        :param count: counts as the index's embedder does, for chunkers with ``tokenizer="embedder"``.
        """


@dataclass(frozen=True, slots=True)
class WholeText:
    """One chunk per document."""

    def identity(self) -> Mapping[str, Any]:
        """Only the type."""
        return {"type": "whole"}

    def chunks(self, text: str, count: CountTokens | None = None) -> list[Piece]:
        """The stripped text."""
        stripped = text.strip()
        start = len(text) - len(text.lstrip())
        return [Piece(stripped, start, start + len(stripped))] if stripped else []


@dataclass(frozen=True, slots=True)
class SizedChunker:
    """What chunkers have in common whose pieces have a largest size."""

    #: Name of the type, and version of its algorithm.
    algorithm: ClassVar[tuple[str, int]]

    max_size: int = 1600
    overlap: int = 0
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.max_size < 1 or not 0 <= self.overlap <= self.max_size // 2:
            raise InvalidArgument(
                f"{type(self).__name__}: max_size={self.max_size}, overlap={self.overlap}",
                next_step="Let max_size be positive and overlap at most half of it.",
            )
        if self.tokenizer not in (None, EMBEDDER):
            check_tokenizer(str(self.tokenizer))

    def identity(self) -> Mapping[str, Any]:
        """Type with the version of the algorithm, and the arguments."""
        name, version = self.algorithm
        return {"type": name, "version": version, **asdict(self)}


@dataclass(frozen=True, slots=True)
class RecursiveChunker(SizedChunker):
    """Cuts at paragraphs, then lines, sentences, words, and in the end anywhere, until every piece fits; then joins
    neighbours up to ``max_size``.

    :param max_size: longest chunk, in characters, or in tokens of ``tokenizer``.
    :param overlap: how much, at most, of a chunk's end is repeated at the next one's start, from a word on.
    :param tokenizer: ``"embedder"`` for that of the index's embedder, the path of a ``tokenizer.json``, or
        ``package.module:function`` (a list of texts in, a list of numbers out). Default: sizes are characters.
    :raises InvalidArgument: one of these is not as said.
    """

    algorithm = ("recursive", 2)
    overlap: int = 160

    def chunks(self, text: str, count: CountTokens | None = None) -> list[Piece]:
        """The pieces, none larger than ``max_size``."""
        levels = (paragraphs, lines, sentences, words)
        return list(_pieces(text, _spans(self, text, (0, len(text)), levels, words, count)))


@dataclass(frozen=True, slots=True)
class SentenceChunker(SizedChunker):
    """Joins whole sentences up to ``max_size``; a sentence that is longer is cut at words, and in the end anywhere.

    Sentences end at ``.``, ``!``, ``?``, their East Asian forms, and blank lines; not after initials and common
    abbreviations, and not before a lower-case letter.

    :param max_size: longest chunk, in characters, or in tokens of ``tokenizer``.
    :param overlap: how much, at most, of a chunk's last sentences is repeated at the next one's start.
    :param tokenizer: as in :class:`RecursiveChunker`.
    :raises InvalidArgument: one of these is not as said.
    """

    algorithm = ("sentence", 1)

    def chunks(self, text: str, count: CountTokens | None = None) -> list[Piece]:
        """The pieces, none larger than ``max_size``."""
        return list(_pieces(text, _spans(self, text, (0, len(text)), (sentences, words), sentences, count)))


@dataclass(frozen=True, slots=True)
class MarkdownChunker(SizedChunker):
    """Cuts Markdown at its headings, so that no chunk holds parts of two sections; then as
    :class:`RecursiveChunker`, with tables, lists and code blocks kept whole where they fit.

    Each chunk knows the headings that it stands under (property ``chunk_headings``). A heading that nothing but
    further headings follow goes to the next section.

    :param max_size: longest chunk, in characters, or in tokens of ``tokenizer``.
    :param overlap: how much, at most, of a chunk's end is repeated at the next one's start, within a section.
    :param tokenizer: as in :class:`RecursiveChunker`.
    :raises InvalidArgument: one of these is not as said.
    """

    algorithm = ("markdown", 1)

    def chunks(self, text: str, count: CountTokens | None = None) -> list[Piece]:
        """The pieces, none larger than ``max_size``.

        :raises ExtraMissing: markdown-it-py is not installed.
        """
        found: list[Piece] = []
        for section in sections(text):
            levels = (_at(section.blocks), lines, sentences, words)
            spans = _spans(self, text, section.span, levels, words, count)
            found.extend(_pieces(text, spans, section.headings))
        return found


def _measure(chunker: SizedChunker, count: CountTokens | None) -> Measure:
    if chunker.tokenizer is None:
        return measure_characters
    if chunker.tokenizer != EMBEDDER:
        return token_counter(chunker.tokenizer)
    if count is None:
        raise InvalidArgument(
            f"{type(chunker).__name__}: tokenizer='embedder', but the embedder counts no tokens",
            next_step="Name a tokenizer.json or a function.",
        )
    return count


def _spans(
    chunker: SizedChunker,
    text: str,
    span: Span,
    levels: Sequence[Level],
    units: Level,
    count: CountTokens | None,
) -> Iterator[Span]:
    measure = _measure(chunker, count)
    # So much smaller, every piece has room for what is repeated before it.
    parts = split(text, span, chunker.max_size - chunker.overlap, levels, measure)
    return pack(text, parts, chunker.max_size, chunker.overlap, units, measure)


def _at(places: Sequence[int]) -> Level:
    """A level that cuts at the given places."""
    return lambda text, span: list(places[bisect_left(places, span[0] + 1) : bisect_left(places, span[1])])


def _pieces(text: str, spans: Iterable[Span], headings: tuple[str, ...] = ()) -> Iterator[Piece]:
    """Without surrounding white space; what is nothing else is left out."""
    for start, end in spans:
        part = text[start:end]
        stripped = part.strip()
        if stripped:
            start += len(part) - len(part.lstrip())
            yield Piece(stripped, start, start + len(stripped), headings)


CHUNKERS: dict[str, type[Any]] = {
    "markdown": MarkdownChunker,
    "recursive": RecursiveChunker,
    "sentence": SentenceChunker,
    "whole": WholeText,
}


def chunker_to_json(chunker: Chunker) -> dict[str, Any]:
    """The chunker's arguments, with its type."""
    return {"type": chunker.identity()["type"], **asdict(chunker)}  # type: ignore[call-overload]


def chunker_from_json(data: Mapping[str, Any]) -> Chunker:
    """The reverse of :func:`chunker_to_json`.

    :raises InvalidArgument: unknown type or argument.
    """
    arguments = dict(data)
    kind = arguments.pop("type", None)
    if kind not in CHUNKERS:
        raise InvalidArgument(
            f"Unknown chunker type {kind!r}", next_step=f"Use one of {', '.join(sorted(CHUNKERS))}."
        )
    try:
        chunker: Chunker = CHUNKERS[kind](**arguments)
    except TypeError as error:
        raise InvalidArgument(f"Chunker {kind!r}: {error}") from error
    return chunker
