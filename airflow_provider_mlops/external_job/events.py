"""What a trigger tells the operator that it wakes. Events cross a database, so they are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_mlops.external_job.adapter import JobHandle, Json
from airflow_provider_mlops.external_job.errors import EventMalformed

#: The first three are :class:`Outcome` values; ``failed``: the trigger could not go on watching.
STATUSES = frozenset({"ended", "lost", "deadline", "failed"})


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A wake-up call: the operator asks the remote itself what has become of the job.

    :param status: why the trigger woke the task, one of :data:`STATUSES`.
    :param handle: the job it watched last.
    :param cursor: the log up to here has been written.
    :param message: why it could not go on.
    """

    status: str
    handle: JobHandle
    cursor: Json = None
    message: str = ""

    def to_json(self) -> dict[str, Json]:
        return {
            "status": self.status,
            "handle": self.handle.to_json(),
            "cursor": self.cursor,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Check and read an event.

        :raises EventMalformed: it is none, or of an unknown status.
        """
        if not isinstance(data, Mapping) or data.get("status") not in STATUSES:
            shown = data.get("status") if isinstance(data, Mapping) else type(data).__name__
            raise EventMalformed(f"The trigger sent an event that is not understood (status {shown!r})")
        try:
            return cls(data["status"], JobHandle.from_json(data["handle"]), data["cursor"], data["message"])
        except (KeyError, TypeError) as error:
            raise EventMalformed(
                f"The trigger's event of status {data['status']!r} is incomplete: {error}"
            ) from error
