"""What no GitLab has: an address, ``/_stand_in``, from which tests in other processes steer the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.testing.gitlab import scenario_json
from airflow_provider_mlops.testing.gitlab.faults import Fault
from airflow_provider_mlops.testing.gitlab.model import User, now
from airflow_provider_mlops.testing.gitlab.quirks import LACKING, QUIRKS
from airflow_provider_mlops.testing.gitlab.routes.api import refusal
from airflow_provider_mlops.testing.gitlab.switching import SwitchingExecutor
from airflow_provider_mlops.testing.gitlab.web import ApiError, Request, Response, bad_request

if TYPE_CHECKING:
    from airflow_provider_mlops.testing.gitlab.server import GitlabStandIn

PREFIX = "/_stand_in"
_KINDS = ("status", "rate_limit", "reset", "slow", "unauthorized", "redirect", "truncate")
_BY_ID = ("statuses", "failure_reasons")
HELP = {
    "GET /_stand_in": "this",
    "GET /_stand_in/knobs": "all knobs and their values",
    "POST /_stand_in/knobs": "change some: {name: value}",
    "GET /_stand_in/faults": "the faults, and how often each has hit",
    "POST /_stand_in/faults": "add one: the fields of Fault, or {kind: " + "|".join(_KINDS) + ", ...}",
    "DELETE /_stand_in/faults": "forget all faults",
    "GET /_stand_in/requests": "what came in; method and path (a regular expression) choose",
    "DELETE /_stand_in/requests": "forget what came in",
    "POST /_stand_in/tokens": "make a token: {scopes, expires_in, username, projects}",
    "POST /_stand_in/revoke": "let a token answer 401: {token}",
    "POST /_stand_in/projects": "make a project: {path}",
    "POST /_stand_in/scenario": "play jobs instead of running them: {jobs: {name: [steps]}}",
    "DELETE /_stand_in/scenario": "run all jobs again",
    "POST /_stand_in/gates": "let jobs pass a gate: {name}",
}


def _body(request: Request) -> dict[str, Any]:
    return dict(request.parameters)


def _describe(server: GitlabStandIn, request: Request) -> Response:
    quirks = [asdict(quirk) for quirk in QUIRKS]
    return Response(body={"requests": HELP, "quirks": quirks, "lacking": LACKING})


def _knobs(server: GitlabStandIn, request: Request) -> Response:
    values = asdict(server.knobs)
    # JSON has no infinity.
    return Response(body={name: "inf" if value == float("inf") else value for name, value in values.items()})


def _set_knobs(server: GitlabStandIn, request: Request) -> Response:
    values = _body(request)
    for name in _BY_ID:
        if isinstance(values.get(name), Mapping):
            values[name] = {int(number): value for number, value in values[name].items()}
    values = {name: float("inf") if value == "inf" else value for name, value in values.items()}
    server.knobs.set(**values)
    return _knobs(server, request)


def _faults(server: GitlabStandIn, request: Request) -> Response:
    return Response(body=[asdict(fault) for fault in server.faults])


def _add_fault(server: GitlabStandIn, request: Request) -> Response:
    values = _body(request)
    kind = values.pop("kind", None)
    if kind is None:
        unknown = values.keys() - {entry.name for entry in fields(Fault)}
        if unknown:
            raise TypeError(f"a fault has no {', '.join(sorted(unknown))}")
        return Response(201, asdict(server.faults.add(Fault(**values))))
    if kind not in _KINDS:
        raise TypeError(f"no kind of fault named {kind!r}; there are {', '.join(_KINDS)}")
    return Response(201, asdict(getattr(server.faults, kind)(**values)))


def _clear_faults(server: GitlabStandIn, request: Request) -> Response:
    server.faults.clear()
    return Response(204)


def _requests(server: GitlabStandIn, request: Request) -> Response:
    method, path = request.parameters.get("method"), str(request.parameters.get("path", ""))
    return Response(body=[asdict(row) for row in server.requests.find(method, path)])


def _clear_requests(server: GitlabStandIn, request: Request) -> Response:
    server.requests.clear()
    return Response(204)


def _user(server: GitlabStandIn, username: str) -> User:
    for user in server.store.users:
        if user.username == username:
            return user
    return server.store.add_user(username)


def _add_token(server: GitlabStandIn, request: Request) -> Response:
    values = _body(request)
    expires_in, projects = values.get("expires_in"), values.get("projects")
    until: datetime | None = None if expires_in is None else now() + timedelta(seconds=float(expires_in))
    token = server.store.add_token(
        _user(server, str(values.get("username", server.user.username))),
        *request.many("scopes"),
        expires_at=until,
        projects=None if projects is None else [int(number) for number in projects],
    )
    body = {"token": token.value, "scopes": sorted(token.scopes), "username": token.user.username}
    return Response(201, body)


def _revoke(server: GitlabStandIn, request: Request) -> Response:
    server.revoke(request.text("token"))
    return Response(204)


def _add_project(server: GitlabStandIn, request: Request) -> Response:
    path = request.text("path")
    if server.store.find_project(path) is not None:
        raise bad_request(f"there is a project at {path!r}")
    project = server.add_project(path)
    body = {
        "project": project.path,
        "project_id": project.id,
        "repository": str(project.repository.folder),
        "trigger_token": next(iter(project.trigger_tokens)),
    }
    return Response(201, body)


def _switching(server: GitlabStandIn) -> SwitchingExecutor:
    if not isinstance(server.executor, SwitchingExecutor):
        raise TypeError("this server runs jobs with an executor of its own")
    return server.executor


def _set_scenario(server: GitlabStandIn, request: Request) -> Response:
    scenario = scenario_json.read(request.parameters.get("jobs"))
    _switching(server).scenario = scenario
    return Response(201, {"jobs": list(scenario.jobs)})


def _clear_scenario(server: GitlabStandIn, request: Request) -> Response:
    _switching(server).scenario = scenario_json.read({})
    return Response(204)


def _open_gate(server: GitlabStandIn, request: Request) -> Response:
    _switching(server).scenario.release(request.text("name"))
    return Response(204)


_HANDLERS = {
    ("GET", ""): _describe,
    ("GET", "/knobs"): _knobs,
    ("POST", "/knobs"): _set_knobs,
    ("GET", "/faults"): _faults,
    ("POST", "/faults"): _add_fault,
    ("DELETE", "/faults"): _clear_faults,
    ("GET", "/requests"): _requests,
    ("DELETE", "/requests"): _clear_requests,
    ("POST", "/tokens"): _add_token,
    ("POST", "/revoke"): _revoke,
    ("POST", "/projects"): _add_project,
    ("POST", "/scenario"): _set_scenario,
    ("DELETE", "/scenario"): _clear_scenario,
    ("POST", "/gates"): _open_gate,
}


def respond(server: GitlabStandIn, request: Request) -> Response:
    """Answer a request below :data:`PREFIX`; whatever is wrong with it is a 400 that tells what."""
    method = "POST" if request.method in ("PUT", "PATCH") else request.method
    handler = _HANDLERS.get((method, request.path.removeprefix(PREFIX).rstrip("/")))
    try:
        if handler is None:
            raise ApiError(404, {"message": f"no such request; GET {PREFIX} tells which there are"})
        return handler(server, request)
    except ApiError as error:
        return refusal(error)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return refusal(bad_request(str(error)))
