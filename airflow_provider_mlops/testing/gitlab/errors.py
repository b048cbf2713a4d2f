"""Why a stand-in cannot start."""

from __future__ import annotations

from airflow_provider_mlops.errors import PermanentError


class ToolMissing(PermanentError):
    """A program that the stand-in runs is not installed."""

    remedy = "Install git and bash with the system's package manager, and see that they are on PATH."


class PortTaken(PermanentError):
    """Another program already listens on the port."""

    remedy = "Name another port, or 0 to get a free one."
