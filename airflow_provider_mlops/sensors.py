"""Sensors: the documented import path."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.gitlab.sensors import GitlabPipelineSensor as GitlabPipelineSensor

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GitlabPipelineSensor": "gitlab.sensors",
    },
)
