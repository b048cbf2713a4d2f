"""The link to a pipeline's jobs on the task's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow_provider_mlops.compat import BaseOperator

#: XCom key that holds the bare URL.
JOB_URL_KEY = "gitlab_job_url"


class GitlabJobLink(BaseOperatorLink):
    """The job that failed; until then, GitLab's own page of the pipeline's jobs, with those that run now."""

    name = "GitLab jobs"

    @property
    def xcom_key(self) -> str:
        """Airflow 3 shows what is under this key."""
        return JOB_URL_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The URL, or an empty string while there is none."""
        return XCom.get_value(ti_key=ti_key, key=JOB_URL_KEY) or ""


def jobs_page(pipeline_url: str) -> str:
    """GitLab's page of a pipeline's jobs."""
    return f"{pipeline_url}/builds"
