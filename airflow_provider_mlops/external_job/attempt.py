"""From an Airflow context to an :class:`Attempt`: which job this try is about."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_mlops.external_job.adapter import JobKey
from airflow_provider_mlops.external_job.engine import Attempt

#: A Clear of a finished run resets its start, so jobs of earlier epochs are looked for further back.
LOOK_BACK_AFTER_CLEAR = timedelta(days=7)

_PROCESS = uuid.uuid4().hex[:12]


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
