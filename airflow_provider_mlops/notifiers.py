"""Notifiers: the documented import path."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.gitlab.notifiers import (
        GitlabCommitStatusNotifier as GitlabCommitStatusNotifier,
    )
    from airflow_provider_mlops.gitlab.notifiers import (
        GitlabMergeRequestCommentNotifier as GitlabMergeRequestCommentNotifier,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GitlabCommitStatusNotifier": "gitlab.notifiers",
        "GitlabMergeRequestCommentNotifier": "gitlab.notifiers",
    },
)
