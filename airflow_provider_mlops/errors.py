"""The error tree. A failure says what failed, why, and what to do next.

Two branches decide whether a retry makes sense:

* :class:`PermanentError`: bad input, missing permission, user code failed. At the operator boundary
  Airflow is told not to retry.
* :class:`TemporaryError`: the same call may work later; ``delay`` says how much later, if known.

The leaves here are shared; a station's own leaves live in its ``errors.py``. Leaves are named for the
cause. Plain Python: nothing here imports Airflow, so the tree also works on a Spark worker and in the
isolated Bento builder. The catalogue in the documentation is generated from these classes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class MlopsError(Exception):
    """Root of every error that this package raises on purpose.

    :param message: one line that names the object and the cause.
    :param next_step: one sentence that says what to do; the class attribute :attr:`remedy` is used
        where the caller has nothing better.
    :param url: where to look in the remote system, if it has a page.
    :param fields: structured facts (project, pipeline id, exit code, ...), kept in :attr:`fields` and
        readable as attributes; never secrets.
    """

    #: What to do, said for the class as a whole; shown when an instance has no ``next_step``.
    remedy: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        next_step: str | None = None,
        url: str | None = None,
        **fields: object,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.remedy
        self.url = url
        self.fields = fields

    def __getattr__(self, name: str) -> object:
        # Only called for names that normal look-up does not find. ``fields`` itself may be missing
        # while an instance is being unpickled.
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}") from None

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.next_step, self.url, self.fields, self._extra()))

    def _extra(self) -> dict[str, object]:
        """Attributes beyond the common ones that must survive pickling."""
        return {}

    def __str__(self) -> str:
        text = self.message
        if self.next_step:
            text = f"{text.rstrip('.')}. Next step: {self.next_step}"
        if self.url:
            text = f"{text.rstrip('.')}. See {self.url}"
        return text


def _rebuild(
    kind: type[MlopsError],
    message: str,
    next_step: str,
    url: str | None,
    fields: dict[str, object],
    extra: dict[str, object],
) -> MlopsError:
    return kind(message, next_step=next_step, url=url, **extra, **fields)


class PermanentError(MlopsError):
    """A retry cannot help: something has to be changed first."""


class TemporaryError(MlopsError):
    """The same call may succeed later.

    :param delay: how long to wait before the next try, where the remote said so.
    """

    def __init__(
        self,
        message: str,
        *,
        delay: timedelta | None = None,
        next_step: str | None = None,
        url: str | None = None,
        **fields: object,
    ) -> None:
        super().__init__(message, next_step=next_step, url=url, **fields)
        self.delay = delay

    def _extra(self) -> dict[str, object]:
        return {"delay": self.delay}


# --- permanent -------------------------------------------------------------------------------------


class InvalidArgument(PermanentError):
    """An operator or spec argument is wrong; found before any remote effect."""


class ConnectionMissing(PermanentError):
    """The named Airflow connection does not exist."""

    remedy = "Create the connection in the Airflow UI (Admin, Connections) or set AIRFLOW_CONN_<ID>."


class ConnectionIncomplete(PermanentError):
    """The connection exists, but a field that is needed is empty or malformed."""

    remedy = "Fill in the field named above in the Airflow connection."


class CredentialsRejected(PermanentError):
    """The remote does not accept the token or password of the connection."""

    remedy = "Renew the token or password in the Airflow connection."


class PermissionDenied(PermanentError):
    """The credentials are valid, but may not do this."""

    remedy = "Give the account of the connection the permission named above."


class RemoteObjectNotFound(PermanentError):
    """The project, repository, collection or object named by the user is not there, or not visible to the account."""

    remedy = "Check the spelling, and that the account of the connection may see it."


class RequestRefused(PermanentError):
    """The remote understood the request and refused it (4xx); the message carries its words."""


class ExtraMissing(PermanentError):
    """An optional dependency is not installed; the message carries the exact pip command."""


class StorageUnwritable(PermanentError):
    """A folder or object store location cannot be written."""

    remedy = "Make the location writable for the Airflow worker's user, or name another one."


class SourceEmpty(PermanentError):
    """The source that was to be read holds nothing."""

    remedy = "Check the path, or the query behind it; what is there already stays as it is."


class ExactlyOnceUnavailable(PermanentError):
    """``exactly_once="required"`` was asked for, but this remote cannot keep our key."""

    remedy = "Use a setup that keeps the key (see the station's page), or accept exactly_once='best_effort'."


class JobCancelled(PermanentError):
    """The remote job was cancelled by a person or a policy of the remote system."""

    remedy = "Find out who cancelled it and why; clear the task to run it again."


class JobBlocked(PermanentError):
    """The remote job waits for a person, and the operator was told not to wait."""


# --- temporary -------------------------------------------------------------------------------------


class RemoteUnavailable(TemporaryError):
    """The remote could not be reached, or answered 5xx."""


class RateLimited(TemporaryError):
    """The remote asks to slow down (429 or its equivalent)."""


class SubmitUncertain(TemporaryError):
    """The answer to a submission was lost: the job may or may not have been started.

    The engine looks for it by key before it submits again.
    """


class JobLost(TemporaryError):
    """A remote job that was known has vanished without a trace."""


class DeadlineExceeded(TemporaryError):
    """The remote job did not end before the task's deadline; it was cancelled unless told otherwise."""

    remedy = "Raise the timeout, or look in the remote system for what made the job slow."


class WaitingFailed(TemporaryError):
    """The remote could not be asked for its state for longer than the error budget allows. The job may still run."""


class Busy(TemporaryError):
    """Somebody else holds the lock or lease of this object right now."""
