"""Cutting a text into spans that fit, and joining neighbours again up to the size of a chunk. Pure decisions.

Spans are (start, end) places of characters; nothing here copies or changes the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from airflow_provider_mlops.vector.graphemes import cut_after, cut_before, is_boundary

Span = tuple[int, int]
#: Sizes of texts, in whatever unit chunks are measured.
Measure = Callable[[Sequence[str]], list[int]]
#: Places inside a span where it may be cut, in order.
Level = Callable[[str, Span], list[int]]

_BREAK = r"(?>\r\n|\r|\n)"
_PARAGRAPH = re.compile(rf"{_BREAK}[ \t]*{_BREAK}\s*")
_LINE = re.compile(_BREAK)
_SPACE = re.compile(r"\s+")
_SENTENCE = re.compile(
    rf"{_BREAK}[ \t]*{_BREAK}\s*"  # a paragraph ends a sentence as well
    r"|[.!?…]+[\"'”’)\]»]*\s+"
    r"|[。！？｡]+[」』”’）]*\s*"
)
#: Words that end in a full stop in the middle of a sentence.
_ABBREVIATIONS = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "no",
        "vs",
        "etc",
        "approx",
        "fig",
        "eq",
        "ca",
        "cf",
        "al",
        "inc",
        "ltd",
        "co",
        "nr",
        "str",
        "bzw",
        "usw",
        "ggf",
        "vgl",
        "bspw",
        "abb",
    ]
)
_LAST_WORD = re.compile(r"(\w+)\.\s+$")


def measure_characters(texts: Sequence[str]) -> list[int]:
    """Sizes in characters (code points)."""
    return [len(text) for text in texts]


def paragraphs(text: str, span: Span) -> list[int]:
    """After blank lines."""
    return _ends(_PARAGRAPH, text, span)


def lines(text: str, span: Span) -> list[int]:
    """After line breaks."""
    return _ends(_LINE, text, span)


def words(text: str, span: Span) -> list[int]:
    """After white space."""
    return _ends(_SPACE, text, span)


def sentences(text: str, span: Span) -> list[int]:
    """After sentences: at their closing signs, unless an abbreviation, an initial or a lower-case word says otherwise."""
    cuts = []
    for match in _SENTENCE.finditer(text, *span):
        if match.end() < span[1] and is_boundary(text, match.end()) and not _goes_on(text, span, match):
            cuts.append(match.end())
    return cuts


def _goes_on(text: str, span: Span, match: re.Match[str]) -> bool:
    sign = match.group()[0]
    if sign not in ".…" or _PARAGRAPH.search(match.group()):
        return False
    if text[match.end()].islower():
        return True
    word = _LAST_WORD.search(text, max(span[0], match.start() - 20), match.end())
    return sign == "." and word is not None and (len(word[1]) == 1 or word[1].lower() in _ABBREVIATIONS)


def _ends(pattern: re.Pattern[str], text: str, span: Span) -> list[int]:
    ends = (match.end() for match in pattern.finditer(text, *span))
    return [end for end in ends if end < span[1] and is_boundary(text, end)]


def split(text: str, span: Span, limit: int, levels: Sequence[Level], measure: Measure) -> list[Span]:
    """Neighbouring spans that together are ``span``, each at most ``limit``: cut at the first level where that does.

    Below the last level anything is cut, graphemes only if one of them is larger than the limit.
    """
    found: list[Span] = []
    # A stack instead of recursion: a text may be nested as deep as there are levels, and long.
    stack: list[tuple[Span, int]] = [(span, 0)]
    while stack:
        current, depth = stack.pop()
        if measure([text[slice(*current)]])[0] <= limit:
            found.append(current)
        elif depth == len(levels):
            found.extend(_cut_anywhere(text, current, limit, measure))
        else:
            cuts = [current[0], *levels[depth](text, current), current[1]]
            stack.extend(((start, end), depth + 1) for start, end in reversed(list(pairwise(cuts))))
    return found


def _cut_anywhere(text: str, span: Span, limit: int, measure: Measure) -> Iterator[Span]:
    start, end = span
    guess = limit
    while start < end:

        def fits(length: int, start: int = start) -> bool:
            return measure([text[start : start + length]])[0] <= limit

        length = _longest(fits, guess, end - start)
        # One character is never cut, however large its size.
        stop = start + max(1, length)
        if stop < end:
            stop = cut_before(text, stop, start)
        yield start, stop
        start, guess = stop, max(1, length)


def _longest(fits: Callable[[int], bool], guess: int, most: int) -> int:
    """The largest number up to ``most`` that fits, looked for around the guess; 0 if not even 1 does."""
    low, high = 0, most + 1
    step = max(1, min(guess, most))
    while low < step < high:
        if fits(step):
            low = step
            step = min(step * 2, high - 1) if high > most else (low + high) // 2
        else:
            high = step
            step = (low + high) // 2
    return low


def pack(
    text: str, spans: Sequence[Span], size: int, overlap: int, units: Level, measure: Measure
) -> Iterator[Span]:
    """Join neighbouring spans to chunks of at most ``size``; each repeats up to ``overlap`` of the end of the one before.

    :param spans: none of them larger than ``size``.
    :param units: what is repeated begins at one of these places.
    """
    first = 0
    start = spans[0][0] if spans else 0
    guess = 1
    while first < len(spans):

        def fits(count: int, first: int = first, start: int = start) -> bool:
            return measure([text[start : spans[first + count - 1][1]]])[0] <= size

        if not fits(1):
            # Without what is repeated.
            start = spans[first][0]
        guess = max(1, _longest(partial(fits, start=start), guess, len(spans) - first))
        end = spans[first + guess - 1][1]
        yield start, end
        first += guess
        repeats = overlap and first < len(spans)
        start = _tail(text, (start, end), overlap, units, measure) if repeats else end


def _tail(text: str, span: Span, overlap: int, units: Level, measure: Measure) -> int:
    """Where the part of a chunk begins that is repeated."""
    start, end = span

    def fits(place: int) -> bool:
        return measure([text[place:end]])[0] <= overlap

    places = units(text, span)
    found = bisect_left(places, True, key=fits)
    if found < len(places):
        return places[found]
    # The end is one long unit. Of words a part is repeated, if they can be cut at all.
    length = _longest(lambda number: fits(end - number), overlap, end - start) if units is words else 0
    place = cut_after(text, end - length, end) if length else end
    return place if place > start else end
