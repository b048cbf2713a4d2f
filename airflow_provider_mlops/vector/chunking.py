"""Chunkers: a document's text cut into the pieces that are embedded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from airflow_provider_mlops.errors import InvalidArgument

#: Where a text may be cut, best places first; the last one cuts anywhere.
_SEPARATORS = ("\n\n", "\n", ". ", " ", "")


class Chunker(Protocol):
    """Cuts a text; frozen dataclasses, part of the index's fingerprint."""

    def identity(self) -> Mapping[str, Any]:
        """JSON object that says all that the chunks depend on."""

    def chunks(self, text: str) -> list[str]:
        """The pieces, without surrounding white space; an empty text gives none."""


@dataclass(frozen=True, slots=True)
class WholeText:
    """One chunk per document."""

    def identity(self) -> Mapping[str, Any]:
        """Only the type."""
        return {"type": "whole"}

    def chunks(self, text: str) -> list[str]:
        """The stripped text."""
        text = text.strip()
        return [text] if text else []


@dataclass(frozen=True, slots=True)
class RecursiveChunker:
    """Cuts at paragraphs, then lines, sentences, words, and in the end anywhere, until every piece fits.

    :param max_chars: longest chunk, in characters.
    :param overlap: how many characters, at most, of a chunk's end are repeated at the next one's start.
    """

    max_chars: int = 1600
    overlap: int = 160

    def __post_init__(self) -> None:
        if self.max_chars < 1 or not 0 <= self.overlap <= self.max_chars // 2:
            raise InvalidArgument(
                f"RecursiveChunker: max_chars={self.max_chars}, overlap={self.overlap}",
                next_step="Let max_chars be positive and overlap at most half of it.",
            )

    def identity(self) -> Mapping[str, Any]:
        """Type with the version of the algorithm, and the two lengths."""
        return {"type": "recursive", "version": 1, **asdict(self)}

    def chunks(self, text: str) -> list[str]:
        """The pieces, each at most ``max_chars`` long."""
        found: list[str] = []
        current = ""
        for piece in _split(text, self.max_chars - self.overlap, 0):
            if current and len(current) + len(piece) > self.max_chars:
                found.append(current)
                current = self._tail(current)
            current += piece
        found.append(current)
        return [stripped for chunk in found if (stripped := chunk.strip())]

    def _tail(self, chunk: str) -> str:
        if not self.overlap:
            return ""
        tail = chunk[-self.overlap :]
        # Begin at a word; a tail that is one long word is repeated as it is.
        return tail[tail.index(" ") + 1 :] if " " in tail.rstrip() else tail


def _split(text: str, limit: int, level: int) -> Iterator[str]:
    """Pieces of at most ``limit`` characters, separators kept, so that joining them gives the text again."""
    if len(text) <= limit:
        yield text
        return
    separator = _SEPARATORS[level]
    if not separator:
        yield from (text[start : start + limit] for start in range(0, len(text), limit))
        return
    parts = text.split(separator)
    for part in (*(f"{part}{separator}" for part in parts[:-1]), parts[-1]):
        if part:
            yield from _split(part, limit, level + 1)


CHUNKERS: dict[str, type[Any]] = {"whole": WholeText, "recursive": RecursiveChunker}


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
