"""Projects and their settings: CI/CD variables, trigger tokens, access tokens and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_mlops.testing.gitlab.entities import moment
from airflow_provider_mlops.testing.gitlab.model import Hook, Project, Token, TriggerToken, Variable
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.routes.general import token_entity
from airflow_provider_mlops.testing.gitlab.web import (
    Response,
    bad_request,
    invalid,
    not_a_value,
    not_found,
    paged,
)

PROJECT_LIMIT = "project_api"
_ROLES = ("no_one_allowed", "developer", "maintainer", "owner")
_MASKABLE = 8


def _number(call: Call, part: str) -> int:
    return int(call.parts[part]) if call.parts[part].isdigit() else -1


# Projects


def index(call: Call) -> Response:
    search = str(call.request.parameters.get("search", ""))
    allowed = None if call.token is None else call.token.projects
    rows = [
        project
        for project in reversed(call.api.store.projects.values())
        if search in project.path and (allowed is None or project.id in allowed)
    ]
    return paged(call.request, rows, call.api.url, call.api.entities.project)


def show(call: Call) -> Response:
    call.api.limits.endpoint(PROJECT_LIMIT, str(call.who.id), call.api.knobs.project_per_minute)
    return Response(body=call.api.entities.project(call.project))


def create(call: Call) -> Response:
    """A project of the user's own."""
    path = str(call.request.parameters.get("path") or call.request.text("name"))
    full = f"{call.who.username}/{path}"
    if call.api.store.find_project(full) is not None:
        raise bad_request({"name": ["has already been taken"], "path": ["has already been taken"]})
    return Response(201, call.api.entities.project(call.api.add_project(full)))


def update(call: Call) -> Response:
    """Settings that matter here: the path, the default branch, and who may set pipeline variables."""
    project, parameters = call.project, call.request.parameters
    role = call.request.choice("ci_pipeline_variables_minimum_override_role", _ROLES)
    with call.api.store.lock:
        if role is not None:
            project.variables_role = role
        if branch := parameters.get("default_branch"):
            project.default_branch = str(branch)
        path = str(parameters.get("path") or project.path.rpartition("/")[2])
        moved = "/".join([*project.path.split("/")[:-1], path])
        if moved != project.path:
            if call.api.store.find_project(moved) not in (None, project):
                raise bad_request({"path": ["has already been taken"]})
            project.former_paths = [former for former in project.former_paths if former != moved]
            project.former_paths.append(project.path)
            project.path = moved
        return Response(body=call.api.entities.project(project))


# CI/CD variables


def _variable_entity(variable: Variable) -> dict[str, Any]:
    return {
        "variable_type": variable.variable_type,
        "key": variable.key,
        "value": variable.value,
        "hidden": False,
        "protected": variable.protected,
        "masked": variable.masked,
        "raw": variable.raw,
        "environment_scope": variable.environment_scope,
        "description": variable.description,
    }


def _variable(call: Call) -> Variable:
    found = call.project.variables.get(call.parts["key"])
    if found is None:
        raise not_found("Variable")
    return found


def _change(call: Call, variable: Variable) -> Variable:
    request = call.request
    variable.variable_type = (
        request.choice("variable_type", ("env_var", "file"), variable.variable_type) or "env_var"
    )
    if "value" in request.parameters:
        variable.value = str(request.parameters["value"])
    for name in ("masked", "raw", "protected"):
        if name in request.parameters:
            setattr(variable, name, request.flag(name))
    if variable.masked and (len(variable.value) < _MASKABLE or len(variable.value.split()) != 1):
        raise bad_request({"value": ["is invalid"]})
    return variable


def variables(call: Call) -> Response:
    rows = list(call.project.variables.values())
    return paged(call.request, rows, call.api.url, _variable_entity)


def variable(call: Call) -> Response:
    return Response(body=_variable_entity(_variable(call)))


def create_variable(call: Call) -> Response:
    call.request.require("key", "value")
    project, key = call.project, call.request.text("key")
    if key in project.variables:
        raise bad_request({"key": [f"({key}) has already been taken"]})
    made = _change(call, Variable(key, ""))
    # A copy, since pipelines that are just being made may be going through the old one.
    project.variables = {**project.variables, key: made}
    return Response(201, _variable_entity(made))


def update_variable(call: Call) -> Response:
    return Response(body=_variable_entity(_change(call, _variable(call))))


def delete_variable(call: Call) -> Response:
    gone = _variable(call).key
    call.project.variables = {
        key: variable for key, variable in call.project.variables.items() if key != gone
    }
    return Response(204)


# Trigger tokens


def _trigger_entity(call: Call, token: TriggerToken) -> dict[str, Any]:
    """Other people's tokens show four characters only."""
    return {
        "id": token.id,
        "description": token.description,
        "token": token.value if token.owner == call.who else token.value[:4],
        "owner": call.api.entities.user(token.owner),
        "created_at": moment(token.created_at),
        "updated_at": moment(token.created_at),
        "deleted_at": None,
        "last_used": moment(token.last_used),
        "expires_at": moment(token.expires_at),
    }


def _trigger(call: Call) -> TriggerToken:
    for token in call.project.trigger_tokens.values():
        if token.id == _number(call, "trigger"):
            return token
    raise not_found("Trigger")


def triggers(call: Call) -> Response:
    rows = list(call.project.trigger_tokens.values())
    return paged(call.request, rows, call.api.url, lambda token: _trigger_entity(call, token))


def trigger(call: Call) -> Response:
    return Response(body=_trigger_entity(call, _trigger(call)))


def create_trigger(call: Call) -> Response:
    description = call.request.text("description")
    until = _moment(call, "expires_at")
    token = call.api.store.add_trigger_token(call.project, call.who, description, until)
    return Response(201, _trigger_entity(call, token))


def update_trigger(call: Call) -> Response:
    token = _trigger(call)
    token.description = str(call.request.parameters.get("description", token.description))
    return Response(body=_trigger_entity(call, token))


def delete_trigger(call: Call) -> Response:
    del call.project.trigger_tokens[_trigger(call).value]
    return Response(204)


# Access tokens


def _moment(call: Call, name: str) -> datetime | None:
    value = call.request.parameters.get(name)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise invalid(name) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _project_tokens(project: Project, call: Call) -> list[Token]:
    return [
        token
        for token in call.api.store.tokens.values()
        if token.user.bot_of == project.id and not token.revoked
    ]


def access_tokens(call: Call) -> Response:
    return paged(call.request, _project_tokens(call.project, call), call.api.url, token_entity)


def create_access_token(call: Call) -> Response:
    """A token of a bot that sees this project alone."""
    call.request.require("name", "scopes")
    project, scopes = call.project, call.request.many("scopes")
    if not scopes or not set(scopes) <= {"api", "read_api", "read_repository", "write_repository"}:
        raise not_a_value("scopes")
    store = call.api.store
    number = len([user for user in store.users if user.bot_of == project.id]) + 1
    name = call.request.text("name")
    bot = store.add_user(f"project_{project.id}_bot_{number}", name, bot_of=project.id)
    token = store.add_token(
        bot, *scopes, name=name, expires_at=_moment(call, "expires_at"), projects=(project.id,)
    )
    return Response(201, {**token_entity(token), "access_level": 40, "token": token.value})


def revoke_access_token(call: Call) -> Response:
    for token in _project_tokens(call.project, call):
        if token.id == _number(call, "token"):
            token.revoked = True
            return Response(204)
    raise not_found(f"Could not find project access token with token_id: {call.parts['token']}")


# Webhooks


def _hook_entity(hook: Hook) -> dict[str, Any]:
    return {
        "id": hook.id,
        "url": hook.url,
        "created_at": moment(hook.created_at),
        "pipeline_events": hook.pipeline_events,
        "job_events": hook.job_events,
        "push_events": False,
        "enable_ssl_verification": True,
        "alert_status": "executable" if hook.executable else "disabled",
        "disabled_until": None,
    }


def _hook(call: Call) -> Hook:
    found = call.project.hooks.get(_number(call, "hook"))
    if found is None:
        raise not_found("Hook")
    return found


def _change_hook(call: Call, hook: Hook) -> Response:
    parameters = call.request.parameters
    hook.url = str(parameters.get("url", hook.url))
    if not hook.url.startswith(("http://", "https://")):
        raise bad_request({"url": ["is blocked: Only allowed schemes are http, https"]})
    if "token" in parameters:
        hook.token = str(parameters["token"])
    for name in ("pipeline_events", "job_events"):
        if name in parameters:
            setattr(hook, name, call.request.flag(name))
    hook.failures = 0
    with call.api.store.lock:
        call.project.hooks[hook.id] = hook
    return Response(200, _hook_entity(hook))


def hooks(call: Call) -> Response:
    return paged(call.request, list(call.project.hooks.values()), call.api.url, _hook_entity)


def create_hook(call: Call) -> Response:
    hook = Hook(call.api.store.next_id("hook"), call.request.text("url"))
    return Response(201, _change_hook(call, hook).body)


def delete_hook(call: Call) -> Response:
    with call.api.store.lock:
        del call.project.hooks[_hook(call).id]
    return Response(204)


_PROJECT = "/projects/:project"
ROUTES = [
    Route("GET", "/projects", index),
    Route("POST", "/projects", create),
    Route("GET", _PROJECT, show),
    Route("PUT", _PROJECT, update),
    Route("GET", f"{_PROJECT}/variables", variables),
    Route("POST", f"{_PROJECT}/variables", create_variable),
    Route("GET", f"{_PROJECT}/variables/:key", variable),
    Route("PUT", f"{_PROJECT}/variables/:key", update_variable),
    Route("DELETE", f"{_PROJECT}/variables/:key", delete_variable),
    Route("GET", f"{_PROJECT}/triggers", triggers),
    Route("POST", f"{_PROJECT}/triggers", create_trigger),
    Route("GET", f"{_PROJECT}/triggers/:trigger", trigger),
    Route("PUT", f"{_PROJECT}/triggers/:trigger", update_trigger),
    Route("DELETE", f"{_PROJECT}/triggers/:trigger", delete_trigger),
    Route("GET", f"{_PROJECT}/access_tokens", access_tokens),
    Route("POST", f"{_PROJECT}/access_tokens", create_access_token),
    Route("DELETE", f"{_PROJECT}/access_tokens/:token", revoke_access_token),
    Route("GET", f"{_PROJECT}/hooks", hooks),
    Route("POST", f"{_PROJECT}/hooks", create_hook),
    Route("GET", f"{_PROJECT}/hooks/:hook", lambda call: Response(body=_hook_entity(_hook(call)))),
    Route("PUT", f"{_PROJECT}/hooks/:hook", lambda call: _change_hook(call, _hook(call))),
    Route("DELETE", f"{_PROJECT}/hooks/:hook", delete_hook),
]
