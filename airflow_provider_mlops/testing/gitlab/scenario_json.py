"""Scenarios as JSON: job names with their steps, each step an object of one key."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

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
    Step,
)

# Arguments come as one value, as a list, or as an object with the names of the step's fields.
_STEPS: dict[str, Callable[..., Step]] = {
    "log": Log,
    "raw_log": lambda data: RawLog(base64.b64decode(data, validate=True)),
    "pause": Pause,
    "gate": Gate,
    "show_status": ShowStatus,
    "artifact": Artifact,
    "dotenv": lambda **variables: Dotenv(variables),
    "junit": Junit,
    "fail": Fail,
    "late_log": LateLog,
    "shift_log": ShiftLog,
}


def _step(row: Any) -> Step:
    if not isinstance(row, Mapping) or len(row) != 1:
        raise ValueError(f"a step is an object of one key, not {row!r}")
    [(name, value)] = row.items()
    if name not in _STEPS:
        raise ValueError(f"no step named {name!r}; there are {', '.join(_STEPS)}")
    try:
        if isinstance(value, Mapping):
            return _STEPS[name](**value)
        return _STEPS[name](*(value if isinstance(value, list) else [value]))
    except (TypeError, binascii.Error) as error:
        raise ValueError(f"step {name!r}: {error}") from error


def _job(rows: Any) -> ScriptedJob:
    if not isinstance(rows, list):
        raise ValueError("a job is a list of steps, or a list of such lists, one for each attempt")
    attempts = rows if rows and all(isinstance(row, list) for row in rows) else [rows]
    return ScriptedJob([[_step(row) for row in attempt] for attempt in attempts])


def read(jobs: Any) -> Scenario:
    """A scenario from ``{"train": [{"log": "epoch 1\\n"}, {"fail": ["script_failure", 1]}]}``.

    :raises ValueError: it is no such thing; the text tells why.
    """
    if not isinstance(jobs, Mapping):
        raise ValueError("jobs is an object of job names")
    return Scenario({str(name): _job(rows) for name, rows in jobs.items()})
