"""Progress a person can follow: one redrawn line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """Shows the step that runs, how far along it is, and how long it takes.

    :param total: number of steps that :meth:`start` will announce.
    :param began: Unix time that the whole demo counts from.
    """

    def __init__(self, total: int, began: float) -> None:
        self._total = total
        self._began = began
        self._number = 0
        self._label = ""
        self._step_began = 0.0
        self._terminal = sys.stdout.isatty()

    def start(self, label: str) -> None:
        """A new step begins."""
        self._number += 1
        self._label = label
        self._step_began = time.time()
        if not self._terminal:
            self._print(f"[{self._number}/{self._total}] {label} ...")

    def tick(self, detail: str = "") -> None:
        """Redraw the line of the running step; nothing where lines cannot be redrawn."""
        if self._terminal and self._label:
            line = f"[{self._number}/{self._total}] {self._label} ... {time.time() - self._step_began:.0f} s {detail}"
            sys.stdout.write(f"\r\x1b[K{line[:110]}")
            sys.stdout.flush()

    def done(self, outcome: str = "") -> None:
        """The running step has ended well."""
        if not self._label:
            return
        took = f"{time.time() - self._step_began:.1f} s"
        elapsed = f"{time.time() - self._began:.0f} s"
        line = f"[{self._number}/{self._total}] {self._label}: {outcome or 'done'} ({took}; {elapsed} in all)"
        self._print(("\r\x1b[K" if self._terminal else "") + line)
        self._label = ""

    def say(self, line: str) -> None:
        """A line of its own, between steps."""
        self._print(("\r\x1b[K" if self._terminal else "") + line)

    def _print(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
