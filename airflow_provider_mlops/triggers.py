"""Triggers: the documented import path."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.external_job.triggers import ExternalJobTrigger as ExternalJobTrigger
    from airflow_provider_mlops.gitlab.triggers import (
        GitlabPipelineEventTrigger as GitlabPipelineEventTrigger,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "ExternalJobTrigger": "external_job.triggers",
        "GitlabPipelineEventTrigger": "gitlab.triggers",
    },
)
