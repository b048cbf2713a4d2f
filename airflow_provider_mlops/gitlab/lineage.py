"""What OpenLineage is told of a pipeline. Only asked where its client is installed, and imported only then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_mlops.base.lineage import facet_module, own_run_facet

#: Name of our own run facet.
FACET = "gitlab_pipeline"

#: Field of the facet, and key of the facts that it shows.
_FIELDS: Mapping[str, str] = {
    "pipelineId": "pipeline_id",
    "projectId": "project_id",
    "project": "project",
    "status": "status",
    "url": "url",
    "ref": "ref",
    "sha": "sha",
    "duration": "duration",
    "jobs": "jobs",
    "warnings": "warnings",
    "failedJobs": "failed_jobs",
}


def run_facets(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Run facets of a pipeline: its identity for tools that know ``externalQuery``, and all else in our own.

    :param facts: ``pipeline_id`` and ``url``, and what else is known: fields of the payload, and ``failed_jobs``.
    :raises ImportError: the client of OpenLineage is not installed.
    """
    external = facet_module("external_query_run")
    parts = urlsplit(facts["url"] or "")
    return {
        "externalQuery": external.ExternalQueryRunFacet(
            externalQueryId=str(facts["pipeline_id"]), source=f"{parts.scheme}://{parts.netloc}"
        ),
        FACET: own_run_facet("GitlabPipelineRunFacet", _FIELDS, facts),
    }


def job_facets(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Job facets of a pipeline: where its definition is kept.

    :param facts: as for :func:`run_facets`.
    :raises ImportError: the client of OpenLineage is not installed.
    """
    repository, found, _ = (facts["url"] or "").partition("/-/pipelines/")
    if not found:
        return {}
    location = facet_module("source_code_location_job")
    return {
        "sourceCodeLocation": location.SourceCodeLocationJobFacet(
            type="git",
            url=repository,
            repoUrl=repository,
            version=facts.get("sha"),
            branch=facts.get("ref"),
        )
    }
