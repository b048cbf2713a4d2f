"""What an attempt leaves in its own XCom: readable after a resume and in 2.11's on_kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.external_job.adapter import JobHandle, Json
from airflow_provider_mlops.external_job.attempt import Attempt

#: XCom key under which one attempt keeps what it needs after a resume.
NOTE_KEY = "external_job"


@dataclass(frozen=True, slots=True)
class Note:
    """The attempt, its adapter and its job.

    :param kind: kind of the adapter.
    :param adapter: the adapter as JSON.
    :param redeferrals: how often a failing trigger has been replaced.
    """

    kind: str
    adapter: Mapping[str, Any]
    handle: JobHandle
    attempt: Attempt
    redeferrals: int = 0

    def to_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "adapter": dict(self.adapter),
            "handle": self.handle.to_json(),
            "attempt": self.attempt.to_json(),
            "redeferrals": self.redeferrals,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Note:
        return cls(
            data["kind"],
            data["adapter"],
            JobHandle.from_json(data["handle"]),
            Attempt.from_json(data["attempt"]),
            data["redeferrals"],
        )
