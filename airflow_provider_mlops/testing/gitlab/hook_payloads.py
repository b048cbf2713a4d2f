"""What webhooks carry."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.testing.gitlab import entities
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, User


class HookPayloads:
    """Builds the payloads; it knows the server's address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _user(self, user: User) -> dict[str, Any]:
        return {
            "id": user.id,
            "name": user.name,
            "username": user.username,
            "avatar_url": None,
            "email": "[REDACTED]",
        }

    def _project(self, pipeline: Pipeline) -> dict[str, Any]:
        project = pipeline.project
        namespace, _, name = project.path.rpartition("/")
        return {
            "id": project.id,
            "name": name,
            "description": None,
            "web_url": f"{self._url}/{project.path}",
            "namespace": namespace,
            "visibility_level": 0,
            "path_with_namespace": project.path,
            "default_branch": project.default_branch,
        }

    def _commit(self, pipeline: Pipeline) -> dict[str, Any]:
        commit = pipeline.project.repository.commit_of(pipeline.sha)
        return {
            "id": commit.id,
            "message": commit.message,
            "title": commit.message.partition("\n")[0],
            "timestamp": commit.committed_date,
            "url": f"{self._url}/{pipeline.project.path}/-/commit/{commit.id}",
            "author": {"name": commit.author_name, "email": "[REDACTED]"},
        }

    def _build(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "stage": job.spec.stage,
            "name": job.name,
            "status": job.status,
            "created_at": entities.moment(job.created_at),
            "started_at": entities.moment(job.started_at),
            "finished_at": entities.moment(job.finished_at),
            "duration": entities.seconds(job.started_at, job.finished_at),
            "queued_duration": entities.seconds(job.queued_at, job.started_at),
            "failure_reason": job.failure_reason if job.status == "failed" else None,
            "when": job.spec.when,
            "manual": job.spec.when == "manual",
            "allow_failure": job.allow_failure,
            "user": self._user(job.user),
            "runner": None,
            "artifacts_file": {"filename": None, "size": None},
            "environment": None,
        }

    def pipeline(self, pipeline: Pipeline) -> dict[str, Any]:
        """A ``Pipeline Hook``."""
        duration = entities.seconds(pipeline.started_at, pipeline.finished_at)
        return {
            "object_kind": "pipeline",
            "object_attributes": {
                "id": pipeline.id,
                "iid": pipeline.iid,
                "name": pipeline.name,
                "ref": pipeline.ref,
                "tag": pipeline.tag,
                "sha": pipeline.sha,
                "before_sha": pipeline.before_sha,
                "source": pipeline.source,
                "status": pipeline.status,
                "detailed_status": pipeline.status,
                "stages": list(dict.fromkeys(job.spec.stage for job in pipeline.jobs)),
                "created_at": entities.moment(pipeline.created_at),
                "finished_at": entities.moment(pipeline.finished_at),
                "duration": None if duration is None else round(duration),
                "queued_duration": entities.seconds(pipeline.created_at, pipeline.started_at),
                "variables": [{"key": row.key, "value": row.value} for row in pipeline.variables],
                "url": f"{self._url}/{pipeline.project.path}/-/pipelines/{pipeline.id}",
            },
            "merge_request": None,
            "user": self._user(pipeline.user),
            "project": self._project(pipeline),
            "commit": self._commit(pipeline),
            "builds": [self._build(job) for job in pipeline.latest()],
        }

    def job(self, job: Job) -> dict[str, Any]:
        """A ``Job Hook``."""
        pipeline = job.pipeline
        build = self._build(job)
        return {
            "object_kind": "build",
            "ref": pipeline.ref,
            "tag": pipeline.tag,
            "before_sha": pipeline.before_sha,
            "sha": pipeline.sha,
            "build_id": job.id,
            **{
                f"build_{key}": build[key]
                for key in (
                    "name",
                    "stage",
                    "status",
                    "created_at",
                    "started_at",
                    "finished_at",
                    "duration",
                    "queued_duration",
                    "allow_failure",
                    "failure_reason",
                )
            },
            "retries_count": job.attempt,
            "pipeline_id": pipeline.id,
            "project_id": pipeline.project.id,
            "project_name": pipeline.project.path.replace("/", " / "),
            "user": self._user(job.user),
            "commit": self._commit(pipeline),
            "project": self._project(pipeline),
            "runner": None,
            "environment": None,
        }
