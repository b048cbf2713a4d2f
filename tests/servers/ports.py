"""Free ports for servers that want several."""

from __future__ import annotations

import contextlib
import random
import socket

#: Below the range from which Linux takes ports of outgoing connections.
RANGE = range(15_000, 32_000)


def free_ports(count: int) -> int:
    """First of ``count`` neighbouring loopback ports that nobody listens on."""
    for first in random.sample(RANGE, 200):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise OSError(f"no {count} neighbouring free ports found between {RANGE.start} and {RANGE.stop}")


def accepts(port: int) -> bool:
    """Whether somebody listens on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
