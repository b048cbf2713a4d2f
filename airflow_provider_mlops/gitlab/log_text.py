"""From the bytes of a GitLab job log to lines of an Airflow task log. Pure decisions, no I/O.

A job log is fetched in windows of bytes that may end anywhere. Runners from 18.7 on put a fixed prefix
before every line, ``2026-01-01T01:00:00.020010Z 00O text``: time, stream number, stream (``O``/``E``),
and a blank for a new line or ``+`` for the rest of the line before. Sections, colours and progress bars
are terminal control sequences.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from airflow_provider_mlops.external_job.adapter import Json

#: How many bytes before the position are remembered (as a hash) to notice a log that moved.
TAIL = 128

_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ([0-9a-f]{2}[OE])([ +])")
_SECTION = re.compile(
    r"(?:\x1b\[0K)?section_(?P<kind>start|end):\d+:(?P<name>[^\r\n\[]+)(?:\[[^\]\r\n]*\])?\r(?:\x1b\[0K)?"
)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")

#: The runner's last words; nothing of interest follows them.
_LAST_WORDS = re.compile(
    r"(?:Job succeeded|ERROR: Job failed(?:: .*| \(.*)?|WARNING: Job canceled.*|Cancel.*job.*)$"
)


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far the log of one job was read.

    :param offset: bytes consumed.
    :param tail: length of the remembered end of what was consumed, and ``digest`` its hash.
    :param sections: headers of the sections that are open there, outermost first.
    :param done: nothing more is to be read.
    """

    offset: int = 0
    tail: int = 0
    digest: str = ""
    sections: Sequence[str] = field(default_factory=tuple)
    done: bool = False

    def to_json(self) -> dict[str, Json]:
        """The position as a JSON object."""
        return {
            "offset": self.offset,
            "tail": self.tail,
            "digest": self.digest,
            "sections": list(self.sections),
            "done": self.done,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The reverse of :meth:`to_json`."""
        return cls(data["offset"], data["tail"], data["digest"], tuple(data["sections"]), data["done"])

    @property
    def start(self) -> int:
        """Where the next window has to start so that it shows the remembered end again."""
        return self.offset - self.tail

    def after(self, consumed: bytes, offset: int) -> Self:
        """The position behind ``consumed``, which ends at ``offset``."""
        tail = consumed[-TAIL:]
        return replace(self, offset=offset, tail=len(tail), digest=_digest(tail))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def find_continuation(window: bytes, position: LogPosition, expected: int) -> int | None:
    """Index in ``window`` where the unread part begins, or ``None`` if the remembered end is not in it.

    GitLab moves a log by some bytes when it archives it, so the end is looked for around ``expected``,
    nearest place first.
    """
    size = position.tail
    if size == 0:
        return expected if expected <= len(window) else None
    places = sorted(range(size, len(window) + 1), key=lambda end: abs(end - expected))
    return next((end for end in places if _digest(window[end - size : end]) == position.digest), None)


def take_lines(
    data: bytes, *, ended: bool, settled: bool = False, overlong: bool = False
) -> tuple[list[bytes], int]:
    """Whole lines at the start of ``data``, joined where the runner continued one, and the bytes they used.

    :param data: unread bytes.
    :param ended: nothing will follow, so an unfinished last line is whole.
    :param settled: nothing has come for a while, so a last line counts as whole although the runner might
        still continue it.
    :param overlong: no more fits into a window: use up a line without an end, but not inside a character.
    """
    end = len(data) if ended else data.rfind(b"\n") + 1
    if end == 0 and overlong:
        end = _character_boundary(data)
        return ([data[:end]], end) if end else ([], 0)
    lines: list[bytes] = []
    stream: bytes | None = None
    used = last_start = 0
    for physical in _physical(data[:end]):
        text = physical.removesuffix(b"\n").removesuffix(b"\r")
        stamp = _STAMP.match(text)
        if stamp and stamp[2] == b"+" and lines and stream == stamp[1]:
            lines[-1] += text[stamp.end() :]
        else:
            last_start = used
            lines.append(text[stamp.end() :] if stamp else text)
            stream = stamp[1] if stamp else None
        used += len(physical)
    if stream is not None and not (ended or settled or overlong):
        # The next bytes may continue the last line.
        lines.pop()
        used = last_start
    return lines, used


def _physical(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _character_boundary(data: bytes) -> int:
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 1 if byte < 0x80 else 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4
        return len(data) if needed <= back else len(data) - back
    return len(data)


def plain(text: str) -> str:
    """The text as a terminal would leave it: control sequences gone, progress bars at their last state."""
    text = _CONTROL.sub("", text)
    shown = next((part for part in reversed(text.split("\r")) if part.strip()), "")
    return shown.rstrip()


def render(lines: Sequence[bytes], prefix: str, sections: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Lines for the task log, and the sections that are open after them.

    Outermost sections become ``::group::`` blocks, which fold in the Airflow UI. A block never stays
    open: what goes on later, after lines of other jobs, is a block of its own.

    :param prefix: put before every line, such as ``[build/image]``.
    :param sections: headers of the sections open before these lines, outermost first.
    """
    open_sections = list(sections)
    shown: list[str] = []
    if open_sections and lines:
        shown.append(f"::group::{prefix} {open_sections[0]} (continued)")
    for raw in lines:
        text = raw.decode("utf-8", errors="replace")
        markers = list(_SECTION.finditer(text))
        before = text[: markers[0].start()] if markers else text
        if not markers or plain(before):
            shown.append(f"{prefix} {plain(before)}".rstrip())
        for index, marker in enumerate(markers):
            stop = markers[index + 1].start() if index + 1 < len(markers) else len(text)
            rest = plain(text[marker.end() : stop])
            if marker["kind"] == "start":
                header = rest or marker["name"]
                shown.append(f"{prefix} {header}" if open_sections else f"::group::{prefix} {header}")
                open_sections.append(header)
                continue
            if open_sections:
                open_sections.pop()
                if not open_sections:
                    shown.append("::endgroup::")
            if rest:
                shown.append(f"{prefix} {rest}")
    if open_sections and lines:
        shown.append("::endgroup::")
    return shown, tuple(open_sections)


def is_last_word(line: bytes) -> bool:
    """Whether the runner ends a log with this line."""
    return _LAST_WORDS.match(plain(line.decode("utf-8", errors="replace"))) is not None
