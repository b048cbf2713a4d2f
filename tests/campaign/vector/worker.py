"""A process that works on an index, and dies where it is told to: at a call of the real code, not of a copy."""

from __future__ import annotations

import functools
import os
import signal
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

# Here and not in functions: the server that forks the processes has all of this ready.
import lancedb  # noqa: F401
import weaviate  # noqa: F401

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector import Records, VectorIndex, indexing, outbox, upkeep
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.gate import Gate, GoldenQuery
from airflow_provider_mlops.vector.stores import (
    lance,
    lance_lease,
    lance_table,
    lance_writer,
    open_store,
    weaviate_batch,
    weaviate_collection,
    weaviate_registry,
)
from airflow_provider_mlops.vector.stores import weaviate as weaviate_store
from airflow_provider_mlops.vector.stores.base import Store
from tests.campaign.vector.plan import PHASES, Death
from tests.campaign.vector.sabotage import sabotage

warnings.filterwarnings("ignore", message="lancedb fork support")

#: Seconds of a lease that another holder will have to wait for.
SHORT_LEASE = 3.0
_LATEST = 0.05
_CALLS: list[tuple[str, Any, str]] = [
    ("survey", indexing, "survey"),
    ("look up", indexing, "check_contents"),
    ("embed", RowMaker, "rows"),
    ("request", weaviate_batch, "_outcome"),
    ("request", lance_writer.LanceWriter, "_commit_changed"),
    ("commit", lance_writer.LanceWriter, "flush"),
    ("commit", weaviate_registry.Registry, "put"),
    ("note", weaviate_registry.Registry, "insert"),
    ("note", weaviate_registry.Registry, "delete"),
    ("note", lance_lease.LanceLease, "_update"),
    ("look up", weaviate_collection.WeaviateBuild, "unfindable"),
    *[
        (phase, owner, name)
        for owner in (lance_lease.LanceLease, weaviate_registry.WeaviateLease)
        for phase, name in (
            ("lease", "__init__"), ("mark", "writing"), ("renew", "renew"), ("release", "release"),
        )
    ],
    *[
        (name if name != "scan" else "read", owner, name)
        for owner in (lance_table.LanceBuild, weaviate_collection.WeaviateBuild)
        for name in ("scan", "upsert", "delete", "settle", "seal")
    ],
    *[("gate", owner, "search") for owner in (lance_table.LanceSnapshot, weaviate_collection.WeaviateSnapshot)],
    *[
        (name, owner, name)
        for owner in (lance.LanceStore, weaviate_store.WeaviateStore)
        for name in ("begin", "activate", "drop")
    ],
]  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What a process has to do.

    :param do: ``index``, or one of :data:`~.plan.CARE`.
    :param index: the declaration, as JSON.
    :param connection: of Weaviate: host, port, extra.
    :param options: of the run.
    :param golden: queries of the gate, with the document that each must find; none for no gate.
    :param version: that a rollback leads to.
    :param server: at the chosen call the server dies, which takes somebody outside, and not this process.
    """

    do: str
    index: Mapping[str, Any]
    connection: Mapping[str, Any]
    holder: str
    records: list[dict[str, Any]]
    options: Mapping[str, Any]
    golden: list[tuple[str, str]]
    version: str | None = None
    death: Death | None = None
    server: bool = False
    short_lease: bool = False
    commits: bool = False
    sabotage: str | None = None


def work(job: Job, reached: Any, parent: Connection) -> None:
    """Do the job.

    :param reached: number of the phase that was entered last, for whoever finds the body.
    :param parent: gets ``("hit",)`` where the server has to die, and the end: ``("done", figures)`` or
        ``("failed", kind, text)``.
    """
    _prepare(job, _Fate(job, reached, parent))
    try:
        parent.send(("done", _do(job)))
    except MlopsError as error:
        parent.send(("failed", type(error).__name__, str(error)))


class _Fate:
    """Counts calls, and strikes at the chosen one."""

    def __init__(self, job: Job, reached: Any, parent: Connection) -> None:
        self._death, self._server, self._reached, self._parent = job.death, job.server, reached, parent
        self._calls = dict.fromkeys(PHASES, 0)
        self._places = {phase: place for place, phase in enumerate(PHASES)}
        self._struck = threading.Lock()

    def over(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with death waiting for it."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._calls[phase] += 1
            self._reached.value = self._places[phase]
            death = self._death
            when = (
                death.when if death and death.phase == phase and death.nth == self._calls[phase] else "never"
            )
            if when == "before":
                self._strike()
            if when == "during" and death:
                threading.Timer(death.share * _LATEST, self._strike).start()
            result = function(*args, **kwargs)
            if when == "after":
                self._strike()
            return result

        return wrapped

    def _strike(self) -> None:
        if not self._struck.acquire(blocking=False):
            return
        if self._server:
            self._parent.send(("hit",))
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def _prepare(job: Job, fate: _Fate) -> None:
    for phase, owner, name in _CALLS:
        setattr(owner, name, fate.over(phase, getattr(owner, name)))
    if job.short_lease:
        for module in (lance_lease, weaviate_registry):
            module.LEASE_SECONDS = SHORT_LEASE  # type: ignore[attr-defined]
    if job.commits:
        outbox.SECONDS_PER_COMMIT = 0.0
    if job.sabotage:
        sabotage(job.sabotage)


def _do(job: Job) -> dict[str, Any]:
    index = VectorIndex.from_json(job.index)
    info = ConnectionInfo("w", **job.connection)
    with open_store(
        index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=lambda _: info
    ) as store:
        if job.do == "index":
            return _index(job, index, store)
        if job.do == "rollback":
            care = upkeep.roll_back(
                index, store, job.holder, version=job.version, sample=None, on_damage="fail"
            )
        elif job.do == "collect":
            care = upkeep.collect_garbage(index, store, job.holder, keep=index.keep_versions, dry_run=False)
        else:
            care = upkeep.look_over(index, store, job.holder, version=None, sample=None, on_damage="heal")
        return {"healed": care.audit.healed if care.audit else 0}


def _index(job: Job, index: VectorIndex, store: Store) -> dict[str, Any]:
    looked_up: list[bool] = []
    original = indexing._Run._look_up

    def look_up(run: Any, build: Any, ids: Any, total: int) -> int:
        looked_up.append(total >= run.found.chunks)
        return original(run, build, ids, total)

    indexing._Run._look_up = look_up  # type: ignore[method-assign]
    gate = None
    if job.golden:
        queries = [GoldenQuery(text, frozenset([doc])) for text, doc in job.golden]
        gate = (Gate(None, min_recall=0.9), queries)
    options = indexing.RunOptions(gate=gate, max_delete_fraction=1.0, batch_size=60, **job.options)
    outcome = indexing.run(
        index,
        Records(lambda: job.records),
        store,
        RowMaker(index.embedder),
        options,
        holder=job.holder,
        on_bad=print,
    )
    return {
        "version": outcome.version.name,
        "active": outcome.active,
        "healed": outcome.healed,
        # All chunks were looked up by their vectors, not only those that were written.
        "whole": bool(looked_up) and all(looked_up),
    }
