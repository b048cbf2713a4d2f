"""Weaviate: what an error of the client, or the server's words about an object, mean. Pure decisions.

The class of the client's exception does not say whether a retry can help: a request that is not allowed and one whose
answer was lost are both a ``WeaviateBatchError``. The gRPC status does, which the client leaves in the chain of causes.
"""

from __future__ import annotations

from airflow_provider_mlops.errors import (
    CredentialsRejected,
    MlopsError,
    PermissionDenied,
    RateLimited,
    RemoteUnavailable,
    RequestRefused,
)

_BY_CODE: dict[str, type[MlopsError]] = {
    "UNAUTHENTICATED": CredentialsRejected,
    "PERMISSION_DENIED": PermissionDenied,
    "INVALID_ARGUMENT": RequestRefused,
    "NOT_FOUND": RequestRefused,
    "ALREADY_EXISTS": RequestRefused,
    "FAILED_PRECONDITION": RequestRefused,
    "OUT_OF_RANGE": RequestRefused,
    "UNIMPLEMENTED": RequestRefused,
    "RESOURCE_EXHAUSTED": RateLimited,
}
_BY_STATUS: dict[int, type[MlopsError]] = {
    401: CredentialsRejected,
    403: PermissionDenied,
    408: RemoteUnavailable,
    429: RateLimited,
}
# Words of the server for trouble that passes; everything else it says about an object is final.
_PASSING = (
    "read-only",
    "context deadline",
    "timeout",
    "timed out",
    "unavailable",
    "connection refused",
    "no leader",
    "not enough memory",
    "shutting down",
    # Of modules that ask a service for vectors.
    "rate limit",
    "status: 429",
    "status: 50",
)


def grpc_code(error: BaseException | None) -> str | None:
    """Name of the gRPC status behind an error (``DEADLINE_EXCEEDED``), or ``None`` if there is none."""
    while error is not None:
        code = getattr(error, "code", None)
        if callable(code):
            return str(code().name)
        # The client raises its own error while it handles the library's, mostly without naming it as the cause.
        error = error.__cause__ or error.__context__
    return None


def kind_of(error: BaseException) -> type[MlopsError]:
    """Which of our errors one of the client's is; without a gRPC status a retry may help."""
    return _BY_CODE.get(grpc_code(error) or "", RemoteUnavailable)


def kind_of_status(status: int) -> type[MlopsError]:
    """Which of our errors an HTTP status is."""
    return _BY_STATUS.get(status, RequestRefused if 400 <= status < 500 else RemoteUnavailable)


def is_too_large(error: BaseException) -> bool:
    """Whether the client, a gateway or the server takes no message of that size: fewer objects may fit."""
    return grpc_code(error) == "RESOURCE_EXHAUSTED" and "larger than max" in str(error).lower()


def is_final(error: BaseException) -> bool:
    """Whether the server refused the whole request for good. Else it is not known what it did."""
    return kind_of(error) not in (RemoteUnavailable, RateLimited)


def passes(text: str) -> bool:
    """Whether what the server says about one object is trouble that passes."""
    lower = text.lower()
    return any(sign in lower for sign in _PASSING)
