"""A process that outlives the server just long enough to end what its jobs left behind.

Started as ``python reaper.py NAME=value``; it waits for its standard input to end, which happens when the
server exits in whatever way, SIGKILL included.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def start(marker: str) -> subprocess.Popen[bytes]:
    """Start the process; closing its ``stdin`` lets it do its work and exit."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__)), marker],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(marker: str) -> None:
    """Wait for the end of the server, then end everything with its marker."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
    if spec is None or spec.loader is None:
        raise ImportError("processes.py")
    processes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(processes)
    sys.stdin.buffer.read()
    processes.end(marker)


if __name__ == "__main__":
    main(sys.argv[1])
