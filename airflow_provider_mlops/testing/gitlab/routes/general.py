"""Version, health, and the user and token of a request."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.entities import day, moment
from airflow_provider_mlops.testing.gitlab.model import Token
from airflow_provider_mlops.testing.gitlab.routes.api import Call, Route
from airflow_provider_mlops.testing.gitlab.web import Response, paged, unauthorized


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


def token_entity(token: Token) -> dict[str, object]:
    """An access token, without its value."""
    return {
        "id": token.id,
        "name": token.name,
        "revoked": token.revoked,
        "created_at": moment(token.created_at),
        "description": None,
        "scopes": sorted(token.scopes),
        "user_id": token.user.id,
        "last_used_at": None,
        "active": not (token.revoked or token.expired),
        "expires_at": day(token.expires_at),
    }


def users(call: Call) -> Response:
    wanted = call.request.parameters.get("username")
    rows = [user for user in call.api.store.users if wanted in (None, user.username)]
    return paged(call.request, rows, call.api.url, call.api.entities.user)


def own_token(call: Call) -> Response:
    if call.token is None:
        raise unauthorized()
    return Response(body=token_entity(call.token))


ROUTES = [
    Route("GET", "/version", version),
    Route("GET", "/metadata", metadata),
    Route("GET", "/user", user),
    Route("GET", "/users", users),
    Route("GET", "/personal_access_tokens/self", own_token),
]
