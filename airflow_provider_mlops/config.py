"""The ``[mlops]`` section of the Airflow configuration.

Airflow merges a provider's defaults at import from 3.3 on only; on 3.1 and 2.11 an unset option
falls back to the default that :func:`get_provider_info` declares, so there is one list of defaults.
"""

from __future__ import annotations

from datetime import timedelta

from airflow_provider_mlops.compat import ObjectStoragePath, conf
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.get_provider_info import CONFIG_OPTIONS

SECTION = "mlops"


def option(name: str) -> str:
    """Value of ``[mlops] name`` as text, or its declared default."""
    value = conf.get(SECTION, name, fallback=None)
    return CONFIG_OPTIONS[name]["default"] if value is None else str(value)


def namespace() -> str:
    """Name of this Airflow installation in job keys: two Airflows may share a GitLab project or a cluster."""
    return option("namespace")


def artifacts(*parts: str) -> str:
    """URI below the shared artifact folder.

    :raises InvalidArgument: ``[mlops] artifacts`` is not set.
    """
    root = option("artifacts").rstrip("/")
    if not root:
        raise InvalidArgument(
            "No artifact folder is configured",
            next_step="Set [mlops] artifacts (AIRFLOW__MLOPS__ARTIFACTS) to a URI that all workers reach, "
            "or give the operator its own.",
        )
    return "/".join((root, *parts))


def artifacts_path(*parts: str) -> ObjectStoragePath:
    """The same place as :func:`artifacts`, as a path that can be read and written whatever its scheme."""
    return ObjectStoragePath(artifacts(*parts))


def poll_interval() -> timedelta:
    """How often a remote job is asked for its state, unless the operator says otherwise."""
    return timedelta(seconds=float(option("poll_interval")))


def error_budget() -> timedelta:
    """How long the remote may be unreachable before a waiting task fails."""
    return timedelta(seconds=float(option("error_budget")))


def retry_after_cap() -> timedelta:
    """The longest ``Retry-After`` that is obeyed."""
    return timedelta(seconds=float(option("retry_after_cap")))
