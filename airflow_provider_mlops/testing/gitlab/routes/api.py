"""What every route shares: finding things, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import unquote

from airflow_provider_mlops.testing.gitlab.creation import Creator
from airflow_provider_mlops.testing.gitlab.entities import Entities
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Project, Store, User, now
from airflow_provider_mlops.testing.gitlab.web import ApiError, Request, Response, not_found, unauthorized


@dataclass(frozen=True)
class Api:
    """Everything the handlers work with."""

    store: Store
    knobs: Knobs
    creator: Creator
    entities: Entities
    url: str
    storage: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request with its route's path parameters, decoded, and its user (absent on open routes)."""

    api: Api
    request: Request
    parts: dict[str, str]
    user: User | None
    job: Job | None = None

    @property
    def who(self) -> User:
        """The user.

        :raises ApiError: 401 without one.
        """
        if self.user is None:
            raise unauthorized()
        return self.user

    @property
    def project(self) -> Project:
        """The project of the path.

        :raises ApiError: 404 when there is none, or this user may not see it.
        """
        project = self.api.store.find_project(self.parts["project"])
        if project is None:
            raise not_found("Project")
        return project

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the path, once it may be seen.

        :raises ApiError: 404.
        """
        number = self.parts["pipeline"]
        pipeline = self.project.pipelines.get(int(number)) if number.isdigit() else None
        if pipeline is None or self.younger(pipeline, self.api.knobs.hidden_after_create):
            raise not_found()
        return pipeline

    @property
    def job_of_path(self) -> Job:
        """The job of the path.

        :raises ApiError: 404.
        """
        number = self.parts["job"]
        job = self.api.store.find_job(self.project, int(number)) if number.isdigit() else None
        if job is None:
            raise not_found()
        return job

    def younger(self, pipeline: Pipeline, seconds: float) -> bool:
        """Whether the pipeline was created less than ``seconds`` ago."""
        return seconds > 0 and now() - pipeline.created_at < timedelta(seconds=seconds)


Handler = Callable[[Call], Response]


@dataclass(frozen=True)
class Route:
    """A method and a path pattern such as ``/projects/:project/pipelines/:pipeline``.

    :param job_token: A job token may be used.
    :param open: No credentials are looked at; the handler does it itself.
    """

    method: str
    pattern: str
    handler: Handler
    job_token: bool = False
    open: bool = False
    compiled: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        expression = re.sub(r"\*(\w+)", r"(?P<\1>.+)", re.sub(r":(\w+)", r"(?P<\1>[^/]+)", self.pattern))
        object.__setattr__(self, "compiled", re.compile(expression))


def authenticate(api: Api, request: Request, route: Route) -> tuple[User | None, Job | None]:
    """Who calls: by ``PRIVATE-TOKEN``, ``Authorization: Bearer`` or ``JOB-TOKEN``.

    :raises ApiError: 401 or, for a scope that is too small, 403.
    """
    if route.open:
        return None, None
    value = request.headers.get("private-token") or request.parameters.get("private_token")
    bearer = request.headers.get("authorization", "")
    if value is None and bearer.lower().startswith("bearer "):
        value = bearer[7:]
    job_token = request.headers.get("job-token") or request.parameters.get("job_token")
    if value is None and job_token is not None and route.job_token:
        job = api.store.job_of_token(str(job_token))
        if job is None:
            raise unauthorized()
        return job.user, job
    token = api.store.tokens.get(str(value))
    if token is None:
        raise unauthorized()
    if token.revoked:
        text = "Token was revoked. You have to re-authorize from the user."
        raise ApiError(401, {"error": "invalid_token", "error_description": text})
    if request.method not in ("GET", "HEAD") and "api" not in token.scopes:
        raise ApiError(
            403,
            {
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the access token.",
                "scope": "api",
            },
        )
    return token.user, None


def dispatch(api: Api, routes: list[Route], request: Request) -> Response:
    """Answer a request; every refusal becomes a response too."""
    path = request.path.removeprefix("/api/v4")
    if path == request.path:
        return Response(404, {"error": "404 Not Found"})
    allowed = False
    for route in routes:
        match = route.compiled.fullmatch(path)
        if match is None:
            continue
        allowed = True
        if route.method != request.method:
            continue
        try:
            user, job = authenticate(api, request, route)
            parts = {name: unquote(part) for name, part in match.groupdict().items()}
            return route.handler(Call(api, request, parts, user, job))
        except ApiError as error:
            return Response(error.status, error.body, error.headers)
    if allowed:
        return Response(405, {"error": "405 Not Allowed"})
    return Response(404, {"error": "404 Not Found"})
