"""The JSON shapes of GitLab 19."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_mlops.testing.gitlab import statuses
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import (
    CommitStatus,
    Job,
    MergeRequest,
    Pipeline,
    Project,
    User,
    Variable,
    now,
)
from airflow_provider_mlops.testing.gitlab.repository import Commit

Entity = dict[str, Any]


def moment(value: datetime | None) -> str | None:
    """ISO 8601 with milliseconds, as the API writes it."""
    return (
        None if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    )


def day(value: datetime | None) -> str | None:
    """The date alone, as of tokens."""
    return None if value is None else value.strftime("%Y-%m-%d")


def seconds(start: datetime | None, end: datetime | None) -> float | None:
    """How long it took, None unless both are known."""
    return None if start is None or end is None else (end - start).total_seconds()


class Entities:
    """Builds entities; it knows the server's address and the statuses a test wants shown."""

    def __init__(self, url: str, knobs: Knobs) -> None:
        self.url = url
        self.knobs = knobs

    def user(self, user: User) -> Entity:
        return {
            "id": user.id,
            "username": user.username,
            "public_email": "",
            "name": user.name,
            "state": "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{self.url}/{user.username}",
        }

    def current_user(self, user: User) -> Entity:
        return {
            **self.user(user),
            "email": f"{user.username}@example.com",
            "bot": user.bot_of is not None,
            "is_admin": False,
            "can_create_project": True,
            "two_factor_enabled": False,
            "external": False,
        }

    def project(self, project: Project) -> Entity:
        namespace, _, name = project.path.rpartition("/")
        return {
            "id": project.id,
            "description": None,
            "name": name,
            "name_with_namespace": project.path.replace("/", " / "),
            "path": name,
            "path_with_namespace": project.path,
            "created_at": moment(project.created_at),
            "default_branch": project.default_branch,
            "tag_list": [],
            "topics": [],
            "ssh_url_to_repo": str(project.repository.folder),
            "http_url_to_repo": f"{self.url}/{project.path}.git",
            "web_url": f"{self.url}/{project.path}",
            "readme_url": None,
            "avatar_url": None,
            "forks_count": 0,
            "star_count": 0,
            "last_activity_at": moment(project.created_at),
            "visibility": "private",
            "archived": False,
            "empty_repo": False,
            "namespace": {
                "id": 1,
                "name": namespace,
                "path": namespace,
                "kind": "group",
                "full_path": namespace,
            },
            "jobs_enabled": True,
            "builds_access_level": "enabled",
            "merge_requests_enabled": True,
            "merge_method": "merge",
            "ci_config_path": None,
            "ci_pipeline_variables_minimum_override_role": (
                "no_one_allowed" if self.knobs.variables_forbidden else project.variables_role
            ),
        }

    # Pipelines

    def pipeline_basic(self, pipeline: Pipeline) -> Entity:
        """PipelineBasic, as inside of jobs."""
        return {
            "id": pipeline.id,
            "iid": pipeline.iid,
            "project_id": pipeline.project.id,
            "sha": pipeline.sha,
            "ref": pipeline.ref,
            "status": self.knobs.statuses.get(pipeline.id, pipeline.status),
            "source": pipeline.source,
            "created_at": moment(pipeline.created_at),
            "updated_at": moment(pipeline.updated_at),
            "web_url": f"{self.url}/{pipeline.project.path}/-/pipelines/{pipeline.id}",
        }

    def pipeline_row(self, pipeline: Pipeline) -> Entity:
        """PipelineBasicWithMetadata, as in lists."""
        return {**self.pipeline_basic(pipeline), "name": pipeline.name}

    def pipeline_with_metadata(self, pipeline: Pipeline, *, stale: bool = False) -> Entity:
        """What one pipeline's own address shows."""
        entity = self.pipeline(pipeline, stale=stale)
        return {**entity, "name": pipeline.name, "archived": False}

    def pipeline(self, pipeline: Pipeline, *, stale: bool = False) -> Entity:
        """What creation, retry and cancel answer: without the name.

        :param stale: Show it as it was at its creation.
        """
        row = self.pipeline_basic(pipeline)
        if stale:
            row |= {"updated_at": row["created_at"]}
            row["status"] = self.knobs.statuses.get(pipeline.id, "created")
        started = None if stale else pipeline.started_at
        finished = None if stale else pipeline.finished_at
        warnings = any(job.status == "failed" and job.allow_failure for job in pipeline.latest())
        path = f"/{pipeline.project.path}/-/pipelines/{pipeline.id}"
        duration = seconds(started, finished)
        return {
            **row,
            "before_sha": pipeline.before_sha,
            "tag": pipeline.tag,
            "yaml_errors": pipeline.yaml_errors,
            "user": self.user(pipeline.user),
            "started_at": moment(started),
            "finished_at": moment(finished),
            "committed_at": None,
            "duration": None if duration is None else round(duration),
            "queued_duration": seconds(pipeline.created_at, started),
            "coverage": None,
            "detailed_status": statuses.detailed(row["status"], warnings, path),
        }

    def variable(self, variable: Variable) -> Entity:
        return {
            "key": variable.key,
            "value": variable.value,
            "variable_type": variable.variable_type,
            "raw": variable.raw,
        }

    # Jobs

    def _job_basic(self, job: Job) -> Entity:
        status = self.knobs.statuses.get(job.id, job.status)
        reason = self.knobs.failure_reasons.get(job.id, job.failure_reason)
        project = job.pipeline.project
        # A bridge does no work of its own that could be timed while it lasts.
        until = job.finished_at or (None if job.is_bridge else now())
        entity: Entity = {
            "id": job.id,
            "status": status,
            "stage": job.spec.stage,
            "name": job.name,
            "ref": job.pipeline.ref,
            "tag": job.pipeline.tag,
            "coverage": None,
            "allow_failure": job.allow_failure,
            "created_at": moment(job.created_at),
            "started_at": moment(job.started_at),
            "finished_at": moment(job.finished_at),
            "erased_at": moment(job.erased_at),
            "duration": seconds(job.started_at, until),
            "queued_duration": seconds(job.queued_at, job.started_at or until),
            "user": self.user(job.user),
            "commit": self.commit(project, job.pipeline.sha),
            "pipeline": self.pipeline_basic(job.pipeline),
            "web_url": f"{self.url}/{project.path}/-/jobs/{job.id}",
            "project": {"ci_job_token_scope_enabled": False},
        }
        if status == "failed":
            entity["failure_reason"] = reason or "unknown_failure"
        return entity

    def job(self, job: Job) -> Entity:
        entity = self._job_basic(job)
        archive = job.archive(now())
        if archive is not None:
            entity["artifacts_file"] = {"filename": archive.filename, "size": len(archive.content)}
        rows = [
            {
                "file_type": stored.file_type,
                "size": len(stored.content),
                "filename": stored.filename,
                "file_format": stored.file_format,
            }
            for stored in job.artifacts.values()
            if stored.file_type != "archive" or archive is not None
        ]
        if job.complete and len(job.trace):
            rows.append(
                {"file_type": "trace", "size": len(job.trace), "filename": "job.log", "file_format": None}
            )
        ran = job.started_at is not None
        return {
            **entity,
            "artifacts": rows,
            "runner": {
                "id": 1,
                "description": "stand-in",
                "active": True,
                "paused": False,
                "is_shared": True,
                "runner_type": "instance_type",
                "name": "gitlab-runner",
                "online": True,
                "created_at": moment(job.created_at),
                "status": "online",
                "ip_address": "127.0.0.1",
                "job_execution_status": "active",
            }
            if ran
            else None,
            "runner_manager": None,
            "artifacts_expire_at": moment(job.artifacts_expire_at),
            "archived": False,
            "tag_list": list(job.spec.tags),
        }

    def bridge(self, job: Job) -> Entity:
        return {
            **self._job_basic(job),
            "downstream_pipeline": None if job.downstream is None else self.pipeline_basic(job.downstream),
        }

    # Repository

    def commit(self, project: Project, sha: str) -> Entity:
        return self.commit_facts(project, project.repository.commit_of(sha))

    def commit_facts(self, project: Project, commit: Commit) -> Entity:
        return {
            "id": commit.id,
            "short_id": commit.id[:8],
            "created_at": commit.committed_date,
            "parent_ids": list(commit.parents),
            "title": commit.message.partition("\n")[0],
            "message": commit.message,
            "author_name": commit.author_name,
            "author_email": commit.author_email,
            "authored_date": commit.authored_date,
            "committer_name": commit.committer_name,
            "committer_email": commit.committer_email,
            "committed_date": commit.committed_date,
            "trailers": {},
            "extended_trailers": {},
            "web_url": f"{self.url}/{project.path}/-/commit/{commit.id}",
        }

    def branch(self, project: Project, name: str, sha: str) -> Entity:
        default = name == project.default_branch
        return {
            "name": name,
            "commit": self.commit(project, sha),
            "merged": False,
            "protected": default,
            "developers_can_push": False,
            "developers_can_merge": False,
            "can_push": True,
            "default": default,
            "web_url": f"{self.url}/{project.path}/-/tree/{name}",
        }

    def commit_status(self, status: CommitStatus) -> Entity:
        return {
            "id": status.id,
            "sha": status.sha,
            "ref": status.ref,
            "status": status.status,
            "name": status.name,
            "target_url": status.target_url,
            "description": status.description,
            "created_at": moment(status.created_at),
            "started_at": moment(status.started_at),
            "finished_at": moment(status.finished_at),
            "allow_failure": False,
            "coverage": status.coverage,
            "pipeline_id": status.pipeline_id,
            "author": self.user(status.author),
        }

    def merge_request(self, project: Project, request: MergeRequest, *, conflicts: bool) -> Entity:
        opened = request.state == "opened"
        sha = request.final_sha or project.repository.resolve(request.source_branch)
        draft = request.title.lower().startswith("draft:")
        detailed = "conflict" if conflicts else "draft_status" if draft else "mergeable"
        detailed = self.knobs.merge_statuses.get(request.iid, detailed) if opened else "not_open"
        return {
            "id": request.id,
            "iid": request.iid,
            "project_id": project.id,
            "title": request.title,
            "description": request.description,
            "state": request.state,
            "created_at": moment(request.created_at),
            "updated_at": moment(request.updated_at),
            "merged_by": self.user(request.merged_by) if request.merged_by else None,
            "merge_user": self.user(request.merged_by) if request.merged_by else None,
            "merged_at": moment(request.merged_at),
            "closed_by": self.user(request.closed_by) if request.closed_by else None,
            "closed_at": moment(request.closed_at),
            "target_branch": request.target_branch,
            "source_branch": request.source_branch,
            "upvotes": 0,
            "downvotes": 0,
            "author": self.user(request.author),
            "assignees": [self.user(user) for user in request.assignees],
            "assignee": self.user(request.assignees[0]) if request.assignees else None,
            "reviewers": [self.user(user) for user in request.reviewers],
            "source_project_id": project.id,
            "target_project_id": project.id,
            "labels": list(request.labels),
            "draft": draft,
            "imported": False,
            "work_in_progress": draft,
            "milestone": None,
            "merge_when_pipeline_succeeds": request.auto_merge is not None,
            "merge_status": "cannot_be_merged" if conflicts else "can_be_merged",
            "detailed_merge_status": detailed,
            "sha": sha,
            "merge_commit_sha": request.merge_commit_sha,
            "squash_commit_sha": request.squash_commit_sha,
            "should_remove_source_branch": None,
            "force_remove_source_branch": request.remove_source_branch,
            "references": {
                "short": f"!{request.iid}",
                "relative": f"!{request.iid}",
                "full": f"{project.path}!{request.iid}",
            },
            "web_url": f"{self.url}/{project.path}/-/merge_requests/{request.iid}",
            "has_conflicts": conflicts,
            "squash": request.squash,
            "user": {"can_merge": True},
        }
