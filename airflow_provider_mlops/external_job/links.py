"""The link to the remote job on the task's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow_provider_mlops.compat import BaseOperator

#: XCom key that holds the bare URL, pushed right after the submission.
URL_KEY = "external_job_url"


class RemoteJobLink(BaseOperatorLink):
    """Page of the remote job, there from the moment it is submitted."""

    name = "Remote job"

    @property
    def xcom_key(self) -> str:
        """Airflow 3 shows what is under this key; the default one is written only when the task ends or defers."""
        return URL_KEY

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The URL, or an empty string while there is none."""
        return XCom.get_value(ti_key=ti_key, key=URL_KEY) or ""
