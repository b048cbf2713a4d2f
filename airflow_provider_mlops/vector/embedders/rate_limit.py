"""How long to hold back, as the server's headers say. Pure: the time is given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}


@dataclass(slots=True)
class RateLimit:
    """What is left of requests and tokens, and when more comes.

    Reads the headers ``x-ratelimit-remaining-{requests,tokens}`` and ``x-ratelimit-reset-{requests,tokens}``,
    with resets such as ``1s``, ``6m0s``, ``20ms``.
    """

    _requests: tuple[int, float] | None = None
    _tokens: tuple[int, float] | None = None
    _paused_until: float = 0.0

    def note(self, headers: Mapping[str, str], now: float) -> None:
        """Take over what an answer says; answers without these headers change nothing."""
        self._requests = _state(headers, "requests", now) or self._requests
        self._tokens = _state(headers, "tokens", now) or self._tokens

    def pause(self, until: float) -> None:
        """Let nobody send before that time."""
        self._paused_until = max(self._paused_until, until)

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a request of so many tokens may be sent."""
        until = self._paused_until
        for needed, state in ((1, self._requests), (tokens, self._tokens)):
            if state is not None and state[0] < needed:
                until = max(until, state[1])
        return max(0.0, until - now)

    def take(self, tokens: int) -> None:
        """Count a request as sent, so that others which run beside it do not use the same allowance."""
        if self._requests is not None:
            self._requests = (self._requests[0] - 1, self._requests[1])
        if self._tokens is not None:
            self._tokens = (self._tokens[0] - tokens, self._tokens[1])


def _state(headers: Mapping[str, str], what: str, now: float) -> tuple[int, float] | None:
    remaining = headers.get(f"x-ratelimit-remaining-{what}")
    wait = seconds(headers.get(f"x-ratelimit-reset-{what}", ""))
    if remaining is None or wait is None:
        return None
    try:
        return int(remaining), now + wait
    except ValueError:
        return None


def seconds(text: str) -> float | None:
    """A duration such as ``6m0s``, ``20ms`` or ``1.5``; ``None`` for anything else."""
    if not text or _PART.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
