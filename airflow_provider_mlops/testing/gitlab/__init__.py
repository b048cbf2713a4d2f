"""A GitLab for tests and demos: its REST API on a port of this machine, and a runner that really runs jobs.

As a program::

    python -m airflow_provider_mlops testing gitlab --port 8929 --root ./gitlab

It prints one JSON line when it is ready: ``url``, ``token``, ``read_token``, ``trigger_token``, ``project``,
``project_id``, ``repository`` and ``control``, the address that steers it (a GET tells how). Commit a ``.gitlab-ci.yml`` into the repository's folder, then trigger a pipeline with any GitLab
client. SIGTERM, SIGINT or SIGHUP end it and every process of every job; if it is killed, a helper process ends
them.

In a test, with jobs that run in bash::

    with GitlabStandIn() as server:
        server.project.add(".gitlab-ci.yml", "train: {script: python train.py}")
        client = gitlab.Gitlab(server.url, private_token=server.token)
        ...
        server.wait(pipeline_id, "success")

In a test, with jobs that only pretend, step by step::

    scenario = Scenario({"train": [Log("epoch 1\\n"), Gate("go on"), Fail("runner_system_failure", None)]})
    with GitlabStandIn(executor=scenario) as server:
        ...
        scenario.wait_reached("go on")
        scenario.release("go on")

``server.knobs`` changes how the whole server behaves (:class:`Knobs`), ``server.faults`` spoils single requests
(:class:`Faults`), ``server.requests`` counts what came in. :mod:`.quirks` lists which surprises of the original
are copied and what is missing.

A job runs in a checkout of its own, in bash, in its own session, with the server's PATH, HOME, locale, proxy,
certificate and package index settings and nothing else of its environment. Whatever a job leaves running ends
with it. There is no isolation beyond that: run only what you trust. The server listens on 127.0.0.1 only.
"""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.bash_executor import BashExecutor
from airflow_provider_mlops.testing.gitlab.faults import Fault, Faults
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.scripted import (
    Artifact,
    Dotenv,
    Fail,
    Gate,
    Junit,
    LateLog,
    Log,
    Pause,
    RawLog,
    Scenario,
    ScriptedJob,
    ShiftLog,
    ShowStatus,
)
from airflow_provider_mlops.testing.gitlab.server import GitlabStandIn
from airflow_provider_mlops.testing.gitlab.serving import serve

__all__ = [
    "Artifact",
    "BashExecutor",
    "Dotenv",
    "Fail",
    "Fault",
    "Faults",
    "Gate",
    "GitlabStandIn",
    "Junit",
    "Knobs",
    "LateLog",
    "Log",
    "Pause",
    "RawLog",
    "Scenario",
    "ScriptedJob",
    "ShiftLog",
    "ShowStatus",
    "serve",
]
