"""GitLab station: start pipelines and wait for them. The option values of its operators are imported from here."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.gitlab.options import AutoRetry as AutoRetry
    from airflow_provider_mlops.gitlab.options import Downstream as Downstream
    from airflow_provider_mlops.gitlab.options import GitlabLogs as GitlabLogs
    from airflow_provider_mlops.gitlab.options import Play as Play

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AutoRetry": "gitlab.options",
        "Downstream": "gitlab.options",
        "GitlabLogs": "gitlab.options",
        "Play": "gitlab.options",
    },
)
