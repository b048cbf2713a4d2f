"""Where all of the state is kept, and how things in it are found."""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from airflow_provider_mlops.testing.gitlab.model import Job, Project, Token, TriggerToken, User
from airflow_provider_mlops.testing.gitlab.repository import Repository


class Store:
    """All of the state, guarded by ``lock``; ``changed`` wakes those who wait for a change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.users: list[User] = []
        self.tokens: dict[str, Token] = {}
        self.projects: dict[int, Project] = {}
        self.jobs: dict[int, Job] = {}
        self.job_tokens: dict[str, Job] = {}
        self._ids: dict[str, Iterator[int]] = {}

    def next_id(self, kind: str, first: int = 1) -> int:
        """The next number of a series."""
        with self.lock:
            return next(self._ids.setdefault(kind, itertools.count(first)))

    def add_user(self, username: str, name: str | None = None, bot_of: int | None = None) -> User:
        """Make a user."""
        user = User(self.next_id("user"), username, name or username, bot_of)
        self.users.append(user)
        return user

    def add_token(
        self,
        user: User,
        *scopes: str,
        name: str = "stand-in",
        expires_at: datetime | None = None,
        projects: Collection[int] | None = None,
    ) -> Token:
        """Make an access token; its scope is ``api`` by default."""
        token = Token(
            "glpat-" + secrets.token_urlsafe(15),
            user,
            frozenset(scopes or ("api",)),
            id=self.next_id("token"),
            name=name,
            expires_at=expires_at,
            projects=None if projects is None else frozenset(projects),
        )
        self.tokens[token.value] = token
        return token

    def add_trigger_token(
        self,
        project: Project,
        owner: User,
        description: str = "stand-in",
        expires_at: datetime | None = None,
    ) -> TriggerToken:
        """Make a trigger token."""
        value = "glptt-" + secrets.token_hex(20)
        number = self.next_id("trigger token")
        token = TriggerToken(number, value, owner, description, expires_at=expires_at)
        project.trigger_tokens[value] = token
        return token

    def add_project(self, path: str, owner: User) -> Project:
        """Make a project with an empty repository and one trigger token."""
        number = self.next_id("project")
        project = Project(number, path, Repository(self.root / "repositories" / path))
        self.add_trigger_token(project, owner)
        self.projects[number] = project
        return project

    def find_project(self, reference: str) -> Project | None:
        """A project by number, full path or former path."""
        if reference.isdigit():
            return self.projects.get(int(reference))
        by_path = [project for project in self.projects.values() if project.path == reference]
        moved = [project for project in self.projects.values() if reference in project.former_paths]
        return next(iter([*by_path, *moved]), None)

    def find_job(self, project: Project, number: int) -> Job | None:
        """A job of a project by id."""
        job = self.jobs.get(number)
        there = job is not None and project.pipelines.get(job.pipeline.id) is job.pipeline
        return job if there else None
