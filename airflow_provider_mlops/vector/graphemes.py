"""Where a text may be cut without tearing what a reader sees as one character.

The rules of Unicode's extended grapheme clusters (UAX #29), without the two for scripts of India that would
need tables which Python does not have.
"""

from __future__ import annotations

import unicodedata

_ZERO_WIDTH_JOINER = "\u200d"
#: Joined to what stands before them, though their category does not say so: zero width (non-)joiner, Thai and Lao
#: vowels, Japanese voicing marks of half width.
_EXTENDING = {"\u200c", _ZERO_WIDTH_JOINER, "\u0e33", "\u0eb3", "\uff9e", "\uff9f"}
_MARKS = {"Mn", "Me", "Mc"}


def cut_before(text: str, position: int, lowest: int) -> int:
    """The last place at or before ``position`` that tears nothing, above ``lowest``; ``position`` if there is none."""
    for place in range(position, lowest, -1):
        if is_boundary(text, place):
            return place
    return position


def cut_after(text: str, position: int, highest: int) -> int:
    """The first place at or after ``position`` that tears nothing, below ``highest``; ``position`` if there is none."""
    for place in range(position, highest):
        if is_boundary(text, place):
            return place
    return position


def is_boundary(text: str, place: int) -> bool:
    """Whether the text can be cut before the character at ``place``."""
    if place <= 0 or place >= len(text):
        return True
    before, after = text[place - 1], text[place]
    if after < "\u0300":
        return not (before == "\r" and after == "\n")
    if after in _EXTENDING or unicodedata.category(after) in _MARKS or _is_modifier(after):
        return before in "\r\n"
    if before == _ZERO_WIDTH_JOINER and unicodedata.category(after) == "So":
        return False
    if _is_regional(before) and _is_regional(after):
        return _regionals_before(text, place) % 2 == 0
    return not _joined_hangul(ord(before), ord(after))


def _is_modifier(character: str) -> bool:
    """Skin tones, and the tags that make the flags of regions."""
    return "\U0001f3fb" <= character <= "\U0001f3ff" or "\U000e0020" <= character <= "\U000e007f"


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _regionals_before(text: str, place: int) -> int:
    start = place
    while start > 0 and _is_regional(text[start - 1]):
        start -= 1
    return place - start


def _joined_hangul(before: int, after: int) -> bool:
    first, second = _hangul(before), _hangul(after)
    return (first, second) in _HANGUL


_HANGUL = {
    *(("L", second) for second in ("L", "V", "LV", "LVT")),
    *((first, second) for first in ("LV", "V") for second in ("V", "T")),
    *((first, "T") for first in ("LVT", "T")),
}


def _hangul(code: int) -> str:
    if 0xAC00 <= code <= 0xD7A3:
        return "LVT" if (code - 0xAC00) % 28 else "LV"
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    return ""
