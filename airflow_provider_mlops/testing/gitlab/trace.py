"""A job's log: the runner's line format, masking, and reading by windows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

WINDOW_LIMIT = 512_000
OUTPUT_LIMIT = 4 * 1024 * 1024
_PARTIAL_LIMIT = 4096


class Trace:
    """Bytes that only grow, until :meth:`shift` or :meth:`erase`.

    Past ``limit`` bytes the runner writes one last line and drops the rest; the job goes on.

    :param timestamps: Write each line behind the 32-byte prefix of runners since 18.7
        (``2026-01-02T03:04:05.678901Z 00O ``).
    """

    def __init__(self, *, timestamps: bool = True, limit: int = OUTPUT_LIMIT) -> None:
        self.timestamps = timestamps
        self._limit = limit
        self._full = False
        self._masked: list[bytes] = []
        self._bytes = bytearray()
        self._partial = {"O": bytearray(), "E": bytearray()}
        self._continued = {"O": False, "E": False}
        self._pushed = (0.0, 0)
        self._lock = threading.Lock()

    def mask(self, values: Iterable[str]) -> None:
        """Show these values as ``[MASKED]`` in what is written from now on."""
        self._masked = sorted({value.encode() for value in values if value}, key=len, reverse=True)

    def write(self, text: str | bytes, stream: str = "O") -> None:
        """Add output of a stream, ``O`` or ``E``; whole lines become visible at once."""
        data = text.encode() if isinstance(text, str) else text
        with self._lock:
            pending = self._partial[stream]
            pending += data
            while (end := pending.find(b"\n")) >= 0:
                self._emit(bytes(pending[: end + 1]), stream)
                del pending[: end + 1]
            if len(pending) > _PARTIAL_LIMIT:
                self._flush(stream)

    def flush(self, *streams: str) -> None:
        """Make unfinished lines visible, of some streams or all; what follows is marked as their continuation."""
        with self._lock:
            for stream in streams or self._partial:
                self._flush(stream)

    def _flush(self, stream: str) -> None:
        pending = self._partial[stream]
        if pending:
            self._emit(bytes(pending), stream)
            pending.clear()

    def _emit(self, line: bytes, stream: str) -> None:
        if self._full:
            return
        if len(self._bytes) > self._limit:
            self._full = True
            line = f"\x1b[33;1m\nJob's log exceeded limit of {self._limit} bytes.\x1b[0;m\n".encode()
        for value in self._masked:
            line = line.replace(value, b"[MASKED]")
        ended = line.endswith(b"\n")
        if self.timestamps:
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            marker = "+" if self._continued[stream] else " "
            self._bytes += f"{moment} 00{stream}{marker}".encode()
            self._continued[stream] = not ended
            if not ended:
                line += b"\n"
        self._bytes += line

    def append_raw(self, data: bytes) -> None:
        """Add bytes exactly as given, for instance half a character."""
        with self._lock:
            self._bytes += data

    def shift(self, count: int) -> None:
        """Move every later byte by ``count``: positive puts a filler line in front, negative drops bytes."""
        with self._lock:
            if count < 0:
                del self._bytes[:-count]
            elif count:
                self._bytes[:0] = b"." * (count - 1) + b"\n"

    def erase(self) -> None:
        """Forget everything."""
        with self._lock:
            self._bytes.clear()

    def window(self, offset: int = 0, limit: int | None = None) -> bytes:
        """``limit`` bytes from ``offset``; empty past the end. A window may cut a character."""
        with self._lock:
            return bytes(self._bytes[offset : None if limit is None else offset + limit])

    def pushed(self, every: float) -> int:
        """How many bytes the server has of a runner that sends what is new once in ``every`` seconds."""
        with self._lock:
            at, count = self._pushed
            if time.monotonic() - at >= every:
                count = len(self._bytes)
                self._pushed = (time.monotonic(), count)
            return count

    def __len__(self) -> int:
        return len(self._bytes)
