"""What the stand-in remembers: users, tokens, projects, pipelines, jobs, merge requests."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from airflow_provider_mlops.testing.gitlab import statuses
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact, TestReport
from airflow_provider_mlops.testing.gitlab.repository import Repository
from airflow_provider_mlops.testing.gitlab.specs import JobSpec, PipelinePlan
from airflow_provider_mlops.testing.gitlab.trace import Trace


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class User:
    """A person, or a token's bot."""

    id: int
    username: str
    name: str


@dataclass
class Token:
    """An access token; ``scopes`` holds ``api`` or ``read_api``."""

    value: str
    user: User
    scopes: frozenset[str] = frozenset({"api"})
    revoked: bool = False


@dataclass
class Variable:
    """A pipeline's or a project's variable."""

    key: str
    value: str
    variable_type: str = "env_var"
    masked: bool = False
    raw: bool = False


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
    final_sha: str | None = None


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
    """A project and everything in it; ``trigger_tokens`` maps each value to its owner."""

    id: int
    path: str
    repository: Repository
    default_branch: str = "main"
    trigger_tokens: dict[str, User] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    merge_requests: dict[int, MergeRequest] = field(default_factory=dict)
    commit_statuses: list[CommitStatus] = field(default_factory=list)
    created_at: datetime = field(default_factory=now)

    def add(
        self, path: str, content: str | bytes, *, branch: str | None = None, message: str | None = None
    ) -> str:
        """Commit one file; gives the commit's id."""
        return self.repository.add(path, content, branch=branch or self.default_branch, message=message)

    def set_variable(self, key: str, value: str, *, masked: bool = False) -> None:
        """Set a CI/CD variable of the project; masked ones appear as ``[MASKED]`` in logs."""
        self.variables[key] = Variable(key, value, masked=masked)


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

    def latest(self) -> list[Job]:
        """The newest attempt of each job."""
        return [job for job in self.jobs if not job.retried]

    def job(self, name: str) -> Job:
        """The newest attempt of a job.

        :raises KeyError: the pipeline has no job of that name.
        """
        for job in self.latest():
            if job.name == name:
                return job
        raise KeyError(name)


class Store:
    """All of the state, guarded by ``lock``; ``changed`` wakes those who wait for a change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.users: list[User] = []
        self.tokens: dict[str, Token] = {}
        self.projects: dict[int, Project] = {}
        self._ids: dict[str, Iterator[int]] = {}

    def next_id(self, kind: str, first: int = 1) -> int:
        """The next number of a series."""
        with self.lock:
            return next(self._ids.setdefault(kind, itertools.count(first)))

    def add_user(self, username: str, name: str | None = None) -> User:
        """Make a user."""
        user = User(self.next_id("user"), username, name or username)
        self.users.append(user)
        return user

    def add_token(self, user: User, *scopes: str) -> Token:
        """Make an access token."""
        token = Token("glpat-" + secrets.token_urlsafe(15), user, frozenset(scopes or ("api",)))
        self.tokens[token.value] = token
        return token

    def add_project(self, path: str, owner: User) -> Project:
        """Make a project with an empty repository and one trigger token."""
        number = self.next_id("project")
        project = Project(number, path, Repository(self.root / "repositories" / path))
        project.trigger_tokens["glptt-" + secrets.token_hex(20)] = owner
        self.projects[number] = project
        return project

    def find_project(self, reference: str) -> Project | None:
        """A project by number or full path."""
        if reference.isdigit():
            return self.projects.get(int(reference))
        return next((project for project in self.projects.values() if project.path == reference), None)

    def find_job(self, project: Project, number: int) -> Job | None:
        """A job of a project by id."""
        for pipeline in project.pipelines.values():
            for job in pipeline.jobs:
                if job.id == number:
                    return job
        return None

    def job_of_token(self, value: str) -> Job | None:
        """The running job that a job token belongs to."""
        for project in self.projects.values():
            for pipeline in project.pipelines.values():
                for job in pipeline.jobs:
                    if job.token == value and job.status == "running":
                        return job
        return None
