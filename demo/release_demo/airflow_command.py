"""One Airflow command in the demo's surroundings; the stand-in runs as long as the command does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from release_demo import parts
from release_demo.processes import child
from release_demo.settings import Settings


def main() -> int:
    _, root, *words = sys.argv[1:]
    settings = Settings(Path(root).resolve())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with parts.gitlab(settings, parts.service_environment(lambda line: None)) as server:
            variables = {**os.environ, **settings.airflow(server)}
            command = [sys.executable, "-P", "-m", "airflow", *words]
            with child(command, environment=variables, log=None) as process:
                return process.wait()
    except KeyboardInterrupt:
        return 130


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
