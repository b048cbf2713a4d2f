"""Memory of a task's attempts: Airflow's task state store where there is one (3.3), nothing before.

It is an accelerator, never the truth: the key that the remote keeps is. It outlives retries and a Clear,
so a record of another slot is ignored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_mlops.compat import Context, task_state_store
from airflow_provider_mlops.external_job.decision import Record

STORE_KEY = "airflow_provider_mlops.external_job"

#: Runs a function where Airflow may be called.
CallAirflow = Callable[[Callable[[], Any]], Awaitable[Any]]


class TaskMemory:
    """The engine's :class:`Memory` over one task.

    :param context: Airflow context of the attempt.
    :param slot: slot of this attempt; records of others are ignored.
    :param call: runs a function in the main thread.
    """

    def __init__(self, context: Context, slot: str, call: CallAirflow) -> None:
        self._store = task_state_store(context)
        self._slot = slot
        self._call = call

    @property
    def durable(self) -> bool:
        """Whether anything survives this attempt."""
        return self._store is not None

    async def load(self) -> Record | None:
        """What earlier attempts of this slot left."""
        store = self._store
        if store is None:
            return None
        data = await self._call(lambda: store.get(STORE_KEY))
        if not isinstance(data, dict) or data.get("slot") != self._slot:
            return None
        return Record.from_json(data)

    async def save(self, record: Record) -> None:
        """Keep the record for later attempts."""
        store = self._store
        if store is not None:
            data = record.to_json()
            await self._call(lambda: store.set(STORE_KEY, data))
