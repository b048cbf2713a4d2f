"""What every route shares: finding things, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import unquote

from airflow_provider_mlops.testing.gitlab.creation import Creator
from airflow_provider_mlops.testing.gitlab.entities import Entities
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.limits import Limits
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Project, Token, User, now
from airflow_provider_mlops.testing.gitlab.store import Store
from airflow_provider_mlops.testing.gitlab.web import (
    ApiError,
    Request,
    Response,
    conditional,
    not_found,
    unauthorized,
)

_READING = ("GET", "HEAD")
_REFRESHING = "Action temporarily disabled. The project this job belongs to is undergoing stats refresh."


@dataclass(frozen=True)
class Api:
    """Everything the handlers work with."""

    store: Store
    knobs: Knobs
    creator: Creator
    entities: Entities
    limits: Limits
    url: str
    add_project: Callable[[str], Project]
    storage: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request with its route's path parameters, decoded, and who makes it (nobody, on open routes)."""

    api: Api
    request: Request
    parts: dict[str, str]
    user: User | None = None
    token: Token | None = None

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

        :raises ApiError: 404 when there is none, or this user may not see it; for one that moved 301, or 405
            to anything but reading.
        """
        reference = self.parts["project"]
        project = self.api.store.find_project(reference)
        hidden = self.token is not None and self.token.projects is not None
        if project is None or (hidden and project.id not in (self.token.projects or ())):  # type: ignore[union-attr]
            raise not_found("Project")
        if not reference.isdigit() and reference != project.path:
            if self.request.method not in _READING:
                raise ApiError(405, {"message": "Non GET methods are not allowed for moved projects"})
            raise ApiError(301, "", {"Location": self._moved_to(project)})
        return project

    def _moved_to(self, project: Project) -> str:
        head, _, rest = self.request.path.partition("/projects/")
        tail = rest.partition("/")[2]
        path = f"{self.api.url}{head}/projects/{project.id}" + (f"/{tail}" if tail else "")
        return path + (f"?{self.request.query}" if self.request.query else "")

    def unless_refreshing(self) -> None:
        """Refuse what may not happen while the project's statistics are refreshed.

        :raises ApiError: 409.
        """
        if self.api.knobs.stats_refreshing:
            raise ApiError(409, {"message": _REFRESHING})

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


def _credentials(request: Request) -> tuple[str | None, str | None]:
    """The access token and the job token that a request brings along."""
    value = request.headers.get("private-token") or request.parameters.get("private_token")
    bearer = request.headers.get("authorization", "")
    if value is None and bearer.lower().startswith("bearer "):
        value = bearer[7:].strip()
    value = value or request.parameters.get("access_token")
    job_token = request.headers.get("job-token") or request.parameters.get("job_token")
    return None if value is None else str(value), None if job_token is None else str(job_token)


def _checked(token: Token | None, request: Request) -> Token:
    if token is None:
        raise unauthorized()
    problem = None
    if token.revoked:
        problem = "Token was revoked. You have to re-authorize from the user."
    elif token.expired:
        problem = "Token is expired. You can either do re-authorization or token refresh."
    if problem:
        raise ApiError(401, {"error": "invalid_token", "error_description": problem})
    enough = {"api", "read_api"} if request.method in _READING else {"api"}
    if not enough & token.scopes:
        raise ApiError(
            403,
            {
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the access token.",
                "scope": " ".join(sorted(enough)),
            },
        )
    return token


def authenticate(api: Api, request: Request, route: Route) -> tuple[User | None, Token | None]:
    """Who calls: by ``PRIVATE-TOKEN``, ``Authorization: Bearer`` or ``JOB-TOKEN``.

    :raises ApiError: 401 or, for a scope that is too small, 403.
    """
    if route.open:
        return None, None
    value, job_token = _credentials(request)
    if value is None and job_token is not None and route.job_token:
        job = api.store.job_tokens.get(job_token)
        if job is None or job.complete:
            raise unauthorized()
        return job.user, None
    token = _checked(api.store.tokens.get(str(value)), request)
    return token.user, token


def _find(routes: list[Route], request: Request, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a request; a HEAD goes to a GET's if it has none of its own.

    :raises ApiError: 405 when the path knows other methods only.
    """
    found: dict[str, tuple[Route, dict[str, str]]] = {}
    for route in routes:
        match = route.compiled.fullmatch(path)
        if match is not None and route.method not in found:
            found[route.method] = route, match.groupdict()
            if route.method == request.method:
                return found[route.method]
    if request.method == "HEAD" and "GET" in found:
        return found["GET"]
    if found:
        raise ApiError(405, {"error": "405 Not Allowed"}, {"Allow": ", ".join(sorted(found))})
    return None


def dispatch(api: Api, routes: list[Route], request: Request) -> Response:
    """Answer a request; every refusal becomes a response too."""
    path = request.path.removeprefix("/api/v4")
    headers: dict[str, str] = {}
    try:
        found = None if path == request.path else _find(routes, request, path)
        if found is None:
            return Response(404, {"error": "404 Not Found"})
        route, parts = found
        value, job_token = _credentials(request)
        headers = api.limits.request(value or job_token or "", api.knobs.requests_per_minute)
        user, token = authenticate(api, request, route)
        decoded = {name: unquote(part) for name, part in parts.items()}
        response = conditional(request, route.handler(Call(api, request, decoded, user, token)))
    except ApiError as error:
        response = refusal(error)
    return replace(response, headers={**headers, **response.headers}) if headers else response


def refusal(error: ApiError) -> Response:
    """The answer that an error stands for."""
    if isinstance(error.body, str):
        return Response(error.status, error.body.encode(), {"Content-Type": "text/plain", **error.headers})
    return Response(error.status, error.body, error.headers)
