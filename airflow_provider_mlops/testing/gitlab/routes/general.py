"""Version, user, projects, and the storage that artifact redirects point at."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import Response, not_found, paged


def version(call: Call) -> Response:
    return Response(body={"version": call.api.knobs.version, "revision": "0" * 11})


def metadata(call: Call) -> Response:
    return Response(
        body={
            "version": call.api.knobs.version,
            "revision": "0" * 11,
            "kas": {"enabled": False},
            "enterprise": True,
        }
    )


def user(call: Call) -> Response:
    return Response(body=call.api.entities.current_user(call.who))


def projects(call: Call) -> Response:
    search = str(call.request.parameters.get("search", ""))
    rows = [
        call.api.entities.project(project)
        for project in reversed(call.api.store.projects.values())
        if search in project.path
    ]
    return paged(call.request, rows, call.api.url)


def project(call: Call) -> Response:
    return Response(body=call.api.entities.project(call.project))


def triggers(call: Call) -> Response:
    """Trigger tokens, of which other people's show four characters only."""
    rows = [
        {
            "id": number,
            "description": "stand-in",
            "token": token if owner == call.who else token[:4],
            "owner": call.api.entities.user(owner),
            "created_at": None,
            "updated_at": None,
            "deleted_at": None,
            "last_used": None,
            "expires_at": None,
        }
        for number, (token, owner) in enumerate(call.project.trigger_tokens.items(), start=1)
    ]
    return paged(call.request, rows, call.api.url)


def storage(call: Call) -> Response:
    content = call.api.storage.get(call.parts["key"])
    if content is None:
        raise not_found()
    return Response(200, content, {"Content-Type": "application/zip"})


ROUTES = [
    Route("GET", "/version", version),
    Route("GET", "/metadata", metadata),
    Route("GET", "/user", user),
    Route("GET", "/projects", projects),
    Route("GET", "/projects/:project", project),
    Route("GET", "/projects/:project/triggers", triggers),
    Route("GET", "/storage/:key", storage, open=True),
]
