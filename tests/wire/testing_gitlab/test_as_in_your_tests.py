"""The stand-in in tests of your own; the documentation shows this file."""

from __future__ import annotations

import gitlab

from airflow_provider_mlops.testing.gitlab import Fail, GitlabStandIn, Log, Scenario


def project_of(server: GitlabStandIn):
    client = gitlab.Gitlab(server.url, private_token=server.token)
    return client.projects.get(server.project.path)


def test_jobs_really_run() -> None:
    with GitlabStandIn() as server:
        server.project.add(
            ".gitlab-ci.yml", "train: {script: echo 0.91 > accuracy.txt, artifacts: {paths: [accuracy.txt]}}"
        )
        pipeline = project_of(server).pipelines.create({"ref": "main"})
        server.wait(pipeline.id, "success")
        job = project_of(server).jobs.get(pipeline.jobs.list()[0].id)
        assert job.artifact("accuracy.txt") == b"0.91\n"


def test_jobs_follow_a_script_of_yours() -> None:
    scenario = Scenario({"train": [Log("epoch 1\n"), Fail("runner_system_failure", None)]})
    with GitlabStandIn(executor=scenario) as server:
        pipeline = project_of(server).pipelines.create({"ref": "main"})
        server.wait(pipeline.id, "failed")
        assert pipeline.jobs.list()[0].failure_reason == "runner_system_failure"
