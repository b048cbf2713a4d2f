"""From an Airflow context to an :class:`Attempt`: which job this try is about."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_mlops.external_job.adapter import JobKey, Json

#: A Clear of a finished run resets its start, so jobs of earlier epochs are looked for further back.
LOOK_BACK_AFTER_CLEAR = timedelta(days=7)

_PROCESS = uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One Airflow attempt, as the engine sees it.

    :param key: its key, generation 0.
    :param run_started: start of the DAG run; older jobs are not ours.
    :param look_back: jobs of other epochs are looked for from here on (before a Clear, ``run_started``
        may have been earlier).
    :param timeout: of one remote job, from its submission.
    :param required: refuse to submit where the remote cannot keep the key.
    """

    key: JobKey
    try_number: int
    run_started: datetime
    look_back: datetime
    timeout: timedelta | None = None
    required: bool = False

    def to_json(self) -> dict[str, Json]:
        return {
            "key": self.key.to_json(),
            "try_number": self.try_number,
            "run_started": self.run_started.timestamp(),
            "look_back": self.look_back.timestamp(),
            "timeout": self.timeout.total_seconds() if self.timeout is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attempt:
        return cls(
            key=JobKey.from_json(data["key"]),
            try_number=data["try_number"],
            run_started=datetime.fromtimestamp(data["run_started"], UTC),
            look_back=datetime.fromtimestamp(data["look_back"], UTC),
            timeout=timedelta(seconds=data["timeout"]) if data["timeout"] is not None else None,
        )


def attempt_of(
    context: Mapping[str, Any],
    *,
    namespace: str,
    timeout: timedelta | None,
    required: bool,
    run_ids_repeat: bool,
) -> Attempt:
    """The attempt that a context describes.

    :param context: Airflow's context of the running task.
    :param run_ids_repeat: ``dags test`` of this Airflow repeats its run_id (2.11): such runs, recognised by
        having no job of Airflow's own, get a nonce per process.
    """
    ti, dag_run = context["ti"], context["dag_run"]
    nonce = _PROCESS if run_ids_repeat and ti.job_id is None else ""
    key = JobKey(
        namespace=namespace,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        epoch=ti.max_tries,
        nonce=nonce,
    )
    started = dag_run.start_date or datetime.now(UTC)
    cleared = bool(getattr(dag_run, "clear_number", 0))
    return Attempt(
        key=key,
        try_number=ti.try_number,
        run_started=started,
        look_back=(started - LOOK_BACK_AFTER_CLEAR) if cleared else started - timedelta(minutes=1),
        timeout=timeout,
        required=required,
    )


def job_timeout(*limits: timedelta | float | None) -> timedelta | None:
    """The shortest of the given limits (a number is seconds); ``None`` if there is none."""
    given = [
        limit if isinstance(limit, timedelta) else timedelta(seconds=limit)
        for limit in limits
        if limit is not None
    ]
    return min(given, default=None)
