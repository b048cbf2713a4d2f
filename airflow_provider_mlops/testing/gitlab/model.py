"""What the stand-in remembers: users, tokens, projects, pipelines, jobs, merge requests."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow_provider_mlops.testing.gitlab import statuses
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact, TestReport
from airflow_provider_mlops.testing.gitlab.repository import Repository
from airflow_provider_mlops.testing.gitlab.specs import JobSpec, PipelinePlan
from airflow_provider_mlops.testing.gitlab.trace import Trace

MAX_HOOK_FAILURES = 4


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class User:
    """A person, or the bot of a project's access token."""

    id: int
    username: str
    name: str
    bot_of: int | None = None


@dataclass
class Token:
    """An access token.

    :param scopes: ``api``, ``read_api`` and others that open nothing here.
    :param expires_at: From then on it answers 401; None for never.
    :param projects: Ids of the projects that it may see; None for all.
    """

    value: str
    user: User
    scopes: frozenset[str] = frozenset({"api"})
    revoked: bool = False
    id: int = 0
    name: str = "stand-in"
    created_at: datetime = field(default_factory=now)
    expires_at: datetime | None = None
    projects: frozenset[int] | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()


@dataclass
class TriggerToken:
    """A pipeline trigger token; an expired one is as good as none."""

    id: int
    value: str
    owner: User
    description: str = "stand-in"
    created_at: datetime = field(default_factory=now)
    last_used: datetime | None = None
    expires_at: datetime | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()


@dataclass
class Hook:
    """A webhook of a project; ``failures`` in a row disable it."""

    id: int
    url: str
    token: str | None = None
    pipeline_events: bool = False
    job_events: bool = False
    created_at: datetime = field(default_factory=now)
    failures: int = 0

    @property
    def executable(self) -> bool:
        return self.failures < MAX_HOOK_FAILURES


@dataclass
class Note:
    """A comment on a merge request."""

    id: int
    author: User
    body: str
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)


@dataclass
class Variable:
    """A pipeline's or a project's variable."""

    key: str
    value: str
    variable_type: str = "env_var"
    masked: bool = False
    raw: bool = False
    protected: bool = False
    environment_scope: str = "*"
    description: str | None = None


@dataclass(frozen=True)
class AutoMerge:
    """Merge once the pipeline of this commit has succeeded."""

    user: User
    sha: str
    message: str | None
    remove_source_branch: bool


@dataclass
class MergeRequest:
    """A merge request; states are ``opened``, ``merged`` and ``closed``."""

    id: int
    iid: int
    author: User
    source_branch: str
    target_branch: str
    title: str
    description: str = ""
    labels: list[str] = field(default_factory=list)
    remove_source_branch: bool = False
    state: str = "opened"
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    merged_at: datetime | None = None
    merge_commit_sha: str | None = None
    merged_by: User | None = None
    closed_at: datetime | None = None
    closed_by: User | None = None
    assignees: list[User] = field(default_factory=list)
    reviewers: list[User] = field(default_factory=list)
    squash: bool = False
    squash_commit_sha: str | None = None
    final_sha: str | None = None
    auto_merge: AutoMerge | None = None
    notes: dict[int, Note] = field(default_factory=dict)


@dataclass
class CommitStatus:
    """A status that something outside of GitLab put on a commit."""

    id: int
    sha: str
    ref: str | None
    status: str
    name: str
    author: User
    target_url: str | None = None
    description: str | None = None
    coverage: float | None = None
    pipeline_id: int | None = None
    created_at: datetime = field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass
class Project:
    """A project and everything in it; trigger tokens go by their value, variables by their key.

    :param former_paths: Where it was before it moved.
    :param variables_role: ``ci_pipeline_variables_minimum_override_role``.
    """

    id: int
    path: str
    repository: Repository
    default_branch: str = "main"
    trigger_tokens: dict[str, TriggerToken] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    merge_requests: dict[int, MergeRequest] = field(default_factory=dict)
    commit_statuses: list[CommitStatus] = field(default_factory=list)
    hooks: dict[int, Hook] = field(default_factory=dict)
    former_paths: list[str] = field(default_factory=list)
    variables_role: str = "developer"
    created_at: datetime = field(default_factory=now)

    def add(
        self, path: str, content: str | bytes, *, branch: str | None = None, message: str | None = None
    ) -> str:
        """Commit one file; gives the commit's id."""
        return self.repository.add(path, content, branch=branch or self.default_branch, message=message)

    def set_variable(self, key: str, value: str, *, masked: bool = False) -> None:
        """Set a CI/CD variable of the project; masked ones appear as ``[MASKED]`` in logs."""
        self.variables = {**self.variables, key: Variable(key, value, masked=masked)}


@dataclass
class Job:
    """One attempt of a job: a retry makes a new one and marks the old one ``retried``.

    ``scheduled_at`` is when a delayed job starts; ``forced`` tells that a force-cancel ended it.
    """

    id: int
    spec: JobSpec
    pipeline: Pipeline
    trace: Trace
    user: User
    status: str = "created"
    attempt: int = 0
    retried: bool = False
    allow_failure: bool = False
    failure_reason: str | None = None
    exit_code: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, object] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    erased_at: datetime | None = None
    scheduled_at: datetime | None = None
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    artifacts_expire_at: datetime | None = None
    dotenv: dict[str, str] = field(default_factory=dict)
    tests: TestReport | None = None
    token: str = field(default_factory=lambda: "glcbt-" + secrets.token_urlsafe(15))
    cancelled: threading.Event = field(default_factory=threading.Event)
    forced: threading.Event = field(default_factory=threading.Event)
    downstream: Pipeline | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def complete(self) -> bool:
        return self.status in statuses.COMPLETE

    @property
    def is_bridge(self) -> bool:
        return self.spec.downstream is not None

    def archive(self, at: datetime) -> StoredArtifact | None:
        """The archive of artifacts, unless there is none or it has expired by then."""
        expired = self.artifacts_expire_at is not None and self.artifacts_expire_at <= at
        return None if expired else self.artifacts.get("archive")


@dataclass
class Pipeline:
    """A pipeline; ``jobs`` holds every attempt in the order of their ids."""

    id: int
    iid: int
    project: Project
    ref: str
    sha: str
    before_sha: str
    tag: bool
    source: str
    user: User
    plan: PipelinePlan
    predefined: dict[str, str]
    variables: list[Variable] = field(default_factory=list)
    inputs: dict[str, object] = field(default_factory=dict)
    name: str | None = None
    jobs: list[Job] = field(default_factory=list)
    status: str = "created"
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    open: bool = False
    upstream: Job | None = None
    yaml_errors: str | None = None

    def latest(self) -> list[Job]:
        """The newest attempt of each job."""
        return [job for job in self.jobs if not job.retried]

    @property
    def depended_on(self) -> bool:
        """Whether the bridge that started it waits for its end."""
        spec = None if self.upstream is None else self.upstream.spec.downstream
        return spec is not None and spec.depend

    def job(self, name: str) -> Job:
        """The newest attempt of a job.

        :raises KeyError: the pipeline has no job of that name.
        """
        for job in self.latest():
            if job.name == name:
                return job
        raise KeyError(name)
