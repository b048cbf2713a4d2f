"""The stand-in as a program of its own."""

from __future__ import annotations

import json
import signal
import threading
from types import FrameType

from airflow_provider_mlops.testing.gitlab.server import GitlabStandIn


def serve(*, port: int, root: str, project: str) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then leave nothing running.

    When ready it prints one JSON line: ``url``, ``token``, ``trigger_token``, ``project`` (full path),
    ``project_id`` and ``repository`` (the folder of the project's Git repository).

    :param port: 0 picks a free one.
    :param root: Folder for repositories and job folders; repositories found there are used again.
    :param project: Full path of the project that is there from the start.
    :returns: 0.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    with GitlabStandIn(root, port=port, project=project) as server:
        ready = {
            "url": server.url,
            "token": server.token,
            "trigger_token": server.trigger_token,
            "project": server.project.path,
            "project_id": server.project.id,
            "repository": str(server.project.repository.folder),
        }
        print(json.dumps(ready), flush=True)
        stop.wait()
    return 0
