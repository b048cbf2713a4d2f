"""The one module that imports Airflow, and the one that knows its versions.

Everything an Airflow-facing module needs is re-exported here under one name, whatever the release:
2.11 keeps it under ``airflow.models`` and friends, 3.x under ``airflow.sdk``. Nothing here may import
another module of this package (it is the lowest layer).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from airflow import __version__ as airflow_version

AIRFLOW_VERSION: tuple[int, int] = tuple(int(part) for part in airflow_version.split(".")[:2])  # type: ignore[assignment]
AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)
AIRFLOW_3_3 = AIRFLOW_VERSION >= (3, 3)

if TYPE_CHECKING:
    from airflow.sdk import (
        Asset,
        BaseHook,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        Context,
        ObjectStoragePath,
        PokeReturnValue,
        TaskInstanceState,
        get_current_context,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.sdk.log import mask_secret
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
elif AIRFLOW_3:
    from airflow.sdk import (
        Asset,
        BaseHook,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        Context,
        ObjectStoragePath,
        PokeReturnValue,
        TaskInstanceState,
        get_current_context,
    )
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.sdk.log import mask_secret
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

    if AIRFLOW_3_3:
        from airflow.sdk.configuration import conf
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            AirflowTaskTimeout,
            TaskDeferralError,
            TaskDeferred,
        )
    else:
        from airflow.configuration import conf
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            AirflowTaskTimeout,
            TaskDeferralError,
            TaskDeferred,
        )
else:
    with warnings.catch_warnings():
        # 2.11 warns about its own modules while importing them.
        warnings.simplefilter("ignore", DeprecationWarning)
        from airflow.configuration import conf
        from airflow.datasets import Dataset as Asset
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSensorTimeout,
            AirflowSkipException,
            AirflowTaskTimeout,
            TaskDeferralError,
            TaskDeferred,
        )
        from airflow.hooks.base import BaseHook
        from airflow.io.path import ObjectStoragePath
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.models.connection import Connection
        from airflow.models.xcom import XCom
        from airflow.notifications.basenotifier import BaseNotifier
        from airflow.operators.python import get_current_context
        from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
        from airflow.triggers.base import BaseTrigger, TriggerEvent
        from airflow.utils.context import Context
        from airflow.utils.log.secrets_masker import mask_secret
        from airflow.utils.state import TaskInstanceState

    # Asset watchers came with 3.0; what derives from this can be imported, and refuses to be used.
    BaseEventTrigger = BaseTrigger

__all__ = [
    "AIRFLOW_3",
    "AIRFLOW_3_3",
    "AIRFLOW_VERSION",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "Asset",
    "BaseEventTrigger",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Connection",
    "Context",
    "ObjectStoragePath",
    "PokeReturnValue",
    "TaskDeferralError",
    "TaskDeferred",
    "TaskInstanceState",
    "TriggerEvent",
    "XCom",
    "aget_connection",
    "airflow_version",
    "atask_state",
    "cli_command",
    "conf",
    "get_connection",
    "get_current_context",
    "mask_secret",
    "operator_lineage",
    "query_inputs",
    "task_state",
    "task_state_store",
    "tells_lineage",
    "without_retries",
]

E_ = TypeVar("E_", bound=BaseException)


def without_retries(error: E_) -> E_:
    """Make Airflow fail the task at once on this error, whatever retries are left.

    Every Airflow version skips retries for ``AirflowFailException`` only, decided by ``isinstance``.
    The error keeps its class name, module, fields and message: it becomes an instance of a subclass
    of both its own type and ``AirflowFailException``.
    """
    if isinstance(error, AirflowFailException):
        return error
    kind = type(error)
    # The slot layout of both bases is that of Exception, so the class of a live instance may change.
    error.__class__ = _permanent_class(kind)
    return error


_PERMANENT: dict[type[BaseException], type[BaseException]] = {}


def _permanent_class(kind: type[BaseException]) -> Any:
    if kind not in _PERMANENT:
        _PERMANENT[kind] = type(
            kind.__name__,
            (kind, AirflowFailException),
            {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__},
        )
    return _PERMANENT[kind]


def get_connection(conn_id: str) -> Connection:
    """Read a connection in a worker (synchronous).

    :raises AirflowNotFoundException: no such connection.
    """
    return BaseHook.get_connection(conn_id)


async def aget_connection(conn_id: str) -> Connection:
    """Read a connection on the triggerer's event loop without blocking it.

    3.1 and later have a native coroutine; 2.11 reads its database in a thread.

    :raises AirflowNotFoundException: no such connection.
    """
    native = getattr(BaseHook, "aget_connection", None)
    if native is not None:
        connection: Connection = await native(conn_id)
        return connection
    return await asyncio.to_thread(BaseHook.get_connection, conn_id)


def task_state_store(context: Context) -> Any | None:
    """The task's own key-value store that survives retries (Airflow 3.3), or ``None`` where there is none."""
    if not AIRFLOW_3_3:
        return None
    with contextlib.suppress(KeyError):
        return context["task_state_store"]
    return None


def task_state(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """State of a task instance now: ``None`` if it is cleared, ``"removed"`` if there is no such one.

    Asks Airflow anew (the state that a running task holds is its own). From the main thread only, and
    on 3.x never while another call to Airflow is under way.
    """
    if AIRFLOW_3:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        states = RuntimeTaskInstance.get_task_states(
            dag_id=dag_id, map_index=map_index, task_ids=[task_id], run_ids=[run_id]
        )
        name = task_id if map_index < 0 else f"{task_id}_{map_index}"
        state = states.get(run_id, {}).get(name, "removed")
    else:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        # Not the scoped session: this may run in a signal handler that interrupts its owner.
        with create_session(scoped=False) as session:
            row = (
                session.query(TaskInstance.state)
                .filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
                .one_or_none()
            )
        state = "removed" if row is None else row[0]
    return None if state is None else str(getattr(state, "value", state))


async def atask_state(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """:func:`task_state` for a triggerer."""
    from asgiref.sync import sync_to_async

    state: str | None = await sync_to_async(task_state)(dag_id, run_id, task_id, map_index)
    return state


def tells_lineage() -> bool:
    """Whether the provider of OpenLineage is installed. Imports next to nothing."""
    try:
        return importlib.util.find_spec("airflow.providers.openlineage.extractors") is not None
    except (ImportError, ValueError):
        return False


def operator_lineage(
    run_facets: dict[str, Any],
    job_facets: dict[str, Any],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
) -> Any | None:
    """What an operator tells OpenLineage; ``None`` where its provider is not installed."""
    try:
        extractors = importlib.import_module("airflow.providers.openlineage.extractors")
    except ImportError:
        return None
    return extractors.OperatorLineage(
        inputs=list(inputs), outputs=list(outputs), run_facets=run_facets, job_facets=job_facets
    )


def query_inputs(conn_id: str, sql: str) -> list[Any]:
    """Tables that a query reads, as OpenLineage's provider sees them in its text.

    At most the database is asked for its default schema, which a table's name is not whole without. Empty where the
    provider, the database's hook or the database cannot tell.
    """
    try:
        parser = importlib.import_module("airflow.providers.openlineage.sqlparser")
        lineage = parser.get_openlineage_facets_with_sql(
            hook=BaseHook.get_hook(conn_id), sql=sql, conn_id=conn_id, database=None, use_connection=False
        )
    except Exception:  # noqa: BLE001 - drivers have errors of their own, and the run itself is over
        return []
    return [] if lineage is None else list(lineage.inputs)


def cli_command(name: str, help_text: str, run: Any) -> Any:
    """A command for Airflow's own CLI (3.3 and later) that hands all following words to ``run`` as ``args.words``."""
    import argparse

    from airflow.cli.cli_config import ActionCommand, Arg

    words = Arg(("words",), nargs=argparse.REMAINDER, help="command and its options")  # type: ignore[no-untyped-call]
    return ActionCommand(name=name, help=help_text, func=run, args=(words,))
