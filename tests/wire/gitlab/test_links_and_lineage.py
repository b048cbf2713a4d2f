"""What the task's page and OpenLineage show of a pipeline, in every state and in both modes."""

from __future__ import annotations

import sys

import pytest

from airflow_provider_mlops import compat
from airflow_provider_mlops.compat import TaskDeferred
from airflow_provider_mlops.gitlab.errors import PipelineFailed
from airflow_provider_mlops.gitlab.links import JOB_URL_KEY, GitlabJobLink
from airflow_provider_mlops.testing.gitlab import Fail, GitlabStandIn, Scenario
from tests.openlineage_client import as_sent
from tests.wire.gitlab.conftest import Task, connect

waiting_or_deferred = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])


def run(task: Task, operator, context=None):
    """One attempt of this very operator, as Airflow's listeners see it afterwards."""
    context = context or task.context()
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        task.operator = lambda: operator  # type: ignore[method-assign]
        return task.resume(deferred, context)


@pytest.fixture
def broken(monkeypatch):
    with GitlabStandIn(executor=Scenario({"train": [Fail()]})) as gitlab:
        connect(monkeypatch, gitlab)
        yield gitlab


@waiting_or_deferred
def test_the_link_shows_the_jobs_and_then_the_one_that_failed(broken, deferrable):
    task = Task({"deferrable": deferrable})
    seen = []
    operator = task.operator()
    context = task.context()
    push = context["ti"].xcom_push
    context["ti"].xcom_push = lambda key, value: (seen.append((key, value)), push(key, value))
    with pytest.raises(PipelineFailed) as raised:
        run(task, operator, context)
    urls = [value for key, value in seen if key == JOB_URL_KEY]
    assert urls == [f"{broken.url}/mlops/demo/-/pipelines/1001/builds", raised.value.url]
    assert urls[1].endswith("/mlops/demo/-/jobs/50001")


def test_the_link_reads_what_was_pushed(monkeypatch):
    monkeypatch.setattr(
        "airflow_provider_mlops.gitlab.links.XCom.get_value",
        lambda *, ti_key, key: {"k": "https://g/j"}.get(ti_key) if key == JOB_URL_KEY else None,
    )
    link = GitlabJobLink()
    assert link.get_link(None, ti_key="k") == "https://g/j"
    assert link.get_link(None, ti_key="other") == ""
    assert link.xcom_key == JOB_URL_KEY


# --- OpenLineage ---------------------------------------------------------------------------------


@waiting_or_deferred
def test_openlineage_is_told_of_a_pipeline_that_succeeded(gitlab, lineage_provider, deferrable):
    task = Task({"deferrable": deferrable})
    operator = task.operator()
    payload = run(task, operator)
    event = as_sent(operator.get_openlineage_facets_on_complete(None))
    query = event["run"]["facets"]["externalQuery"]
    assert (query["externalQueryId"], query["source"]) == (str(payload["pipeline_id"]), gitlab.url)
    facet = event["run"]["facets"]["gitlab_pipeline"]
    assert facet["pipelineId"] == payload["pipeline_id"]
    assert facet["project"] == "mlops/demo"
    assert facet["url"] == payload["url"]
    assert (facet["status"], facet["jobs"]) == ("success", {"success": 2})
    location = event["job"]["facets"]["sourceCodeLocation"]
    assert (location["repoUrl"], location["version"]) == (f"{gitlab.url}/mlops/demo", payload["sha"])


@waiting_or_deferred
def test_openlineage_is_told_which_job_failed(broken, lineage_provider, deferrable):
    task = Task({"deferrable": deferrable})
    operator = task.operator()
    with pytest.raises(PipelineFailed):
        run(task, operator)
    facet = as_sent(operator.get_openlineage_facets_on_failure(None))["run"]["facets"]["gitlab_pipeline"]
    assert (facet["status"], facet["failedJobs"][0]["name"]) == ("failed", "train")
    assert facet["url"].endswith("/-/pipelines/1001")


def test_before_a_pipeline_is_known_nothing_is_told(gitlab, lineage_provider):
    assert Task({}).operator().get_openlineage_facets_on_complete(None) is None


@pytest.mark.parametrize(
    "missing", ["openlineage.client.facet_v2", "airflow.providers.openlineage.extractors"]
)
def test_without_openlineage_nothing_breaks(gitlab, monkeypatch, missing):
    task = Task({})
    operator = task.operator()
    run(task, operator)
    monkeypatch.setitem(sys.modules, missing, None)
    assert operator.get_openlineage_facets_on_complete(None) is None


def test_a_provider_that_is_not_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    assert compat.operator_lineage({}, {}) is None
