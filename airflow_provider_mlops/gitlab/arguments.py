"""Checks of arguments that are one of a few words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.gitlab.pipeline_status import OnManual, OnRetry, OnSkipped

_WORDS: dict[str, Sequence[str]] = {
    "on_manual": get_args(OnManual),
    "on_skipped": get_args(OnSkipped),
    "on_retry": get_args(OnRetry),
    "log_jobs": ("all", "failed", "none"),
}


def check_choices(**arguments: str) -> None:
    """Check that every argument is one of its words.

    :raises InvalidArgument: one is not; nothing was done yet.
    """
    for name, value in arguments.items():
        if value not in _WORDS[name]:
            raise InvalidArgument(f"{name} is {value!r}", next_step=f"Use one of {', '.join(_WORDS[name])}.")
