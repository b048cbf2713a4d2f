"""A GitLab for tests and demos."""

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
