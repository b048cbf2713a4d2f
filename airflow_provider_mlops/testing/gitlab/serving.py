"""The stand-in as a program of its own."""

from __future__ import annotations

import json
import signal
import threading
from types import FrameType

from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.routes.control import PREFIX
from airflow_provider_mlops.testing.gitlab.server import GitlabStandIn


def serve(*, port: int, root: str, project: str, knobs: Knobs | None = None) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then leave nothing running.

    When ready it prints one JSON line: ``url``, ``token``, ``read_token`` (scope ``read_api``), ``trigger_token``,
    ``project`` (full path), ``project_id``, ``repository`` (the folder of the project's Git repository) and
    ``control`` (the address that steers it).

    :param port: 0 picks a free one.
    :param root: Folder for repositories and job folders; repositories found there are used again.
    :param project: Full path of the project that is there from the start.
    :param knobs: Behaviour to begin with.
    :returns: 0.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    with GitlabStandIn(root, port=port, project=project, knobs=knobs) as server:
        ready = {
            "url": server.url,
            "token": server.token,
            "read_token": server.read_token,
            "trigger_token": server.trigger_token,
            "project": server.project.path,
            "project_id": server.project.id,
            "repository": str(server.project.repository.folder),
            "control": server.url + PREFIX,
        }
        print(json.dumps(ready), flush=True)
        stop.wait()
    return 0
