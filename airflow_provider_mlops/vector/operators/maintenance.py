"""The maintenance task. The work is in :mod:`airflow_provider_mlops.vector.upkeep`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.base.operators import MlopsOperator, product_field
from airflow_provider_mlops.compat import Context
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.payloads import SCHEMA, VectorMaintenancePayload
from airflow_provider_mlops.vector.hook import located, placed
from airflow_provider_mlops.vector.operators.common import check_numpy, lease_holder
from airflow_provider_mlops.vector.operators.lineage import CareLineage, noting
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store
from airflow_provider_mlops.vector.upkeep import Care, OnDamage, collect_garbage, look_over, roll_back

KIND = "vector.maintenance"

Action = Literal["audit", "rollback", "collect_garbage"]


class VectorIndexMaintenanceOperator(CareLineage, MlopsOperator):
    """Care for a vector index between its runs. Returns a
    :class:`~airflow_provider_mlops.payloads.VectorMaintenancePayload`.

    Like a run, it is the only writer while it works: a run that meets it fails with ``IndexBusy`` and is retried.

    - ``audit`` reads the version from end to end and looks at the chunks of ``sample`` documents one by one: id and
      text belong together, the vector is usable and finds its chunk, no place within a document is empty or taken
      twice; columns, tokenization and metric are as declared; what the live name points to is finished.
    - ``rollback`` makes an earlier version live, after the same look at it; it does not need the embedder. The next
      index run compares with its source again and goes forward, so pause its DAG until the cause is mended.
    - ``collect_garbage`` drops finished versions beyond the newest ``keep``, and unfinished attempts that are older
      than the newest finished one. The live version stays, and what another alias or tag points to.

    :param index: the index, as declared for ``VectorIndexOperator``.
    :param action: what to do.
    :param version: ``audit`` and ``rollback``: name of a version, or the output of an index task (templated). By default
        ``audit`` takes the live version, and ``rollback`` the newest finished one that is older than it.
    :param sample: ``audit`` and ``rollback``: how many documents, picked at random; ``None`` for all.
    :param on_damage: ``fail``, or ``report`` it in the payload only; ``audit`` knows ``heal`` as well: chunks that are
        half-written, or not found by their own vector, are written anew (needs ``sample=None``), and other damage fails.
    :param keep: ``collect_garbage``: how many finished versions stay; default ``keep_versions`` of the index.
    :param dry_run: ``collect_garbage``: only list what would go; writes nothing.
    :raises IndexDamaged: the version is damaged; ``rollback`` has not moved anything.
    :raises VersionMissing, VersionIncomplete: there is no such version to look at or to go back to.
    :raises IndexBusy: an index run is at work; a retry may find the index free.
    """

    template_fields: Sequence[str] = ("version",)

    def __init__(
        self,
        *,
        index: VectorIndex,
        action: Action,
        version: Any = None,
        sample: int | None = 1000,
        on_damage: OnDamage = "fail",
        keep: int | None = None,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.index = index
        self.action = action
        self.version = version
        self.sample = sample
        self.on_damage = on_damage
        self.keep = keep
        # Airflow's operators have a method of this name.
        self.only_list = dry_run

    @noting
    def execute(self, context: Context) -> VectorMaintenancePayload:
        """Do what ``action`` says."""
        self._check_arguments()
        check_numpy()
        # An audit compares with the declaration, which takes the embedder.
        index = located(self.index) if self.action == "audit" else placed(self.index)
        with open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connection_info
        ) as store:
            care = self._care(index, store, lease_holder(context))
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "index": index.name,
            "backend": index.backend,
            "conn_id": index.connection,
            "uri": index.uri,
            "action": self.action,
            "version": care.version.name if care.version else None,
            "physical": care.version.physical if care.version else None,
            "previous_version": care.previous.name if care.previous else None,
            "damaged": bool(care.audit and care.audit.problems()),
            "audit": care.audit.to_json() if care.audit else None,
            "dropped": care.dropped,
            "dry_run": self.only_list,
        }

    def _care(self, index: VectorIndex, store: Store, holder: str) -> Care:
        if self.action == "collect_garbage":
            keep = index.keep_versions if self.keep is None else self.keep
            return collect_garbage(index, store, holder, keep=keep, dry_run=self.only_list)
        version = None if self.version is None else product_field(self.version, "version", argument="version")
        care = look_over if self.action == "audit" else roll_back
        return care(index, store, holder, version=version, sample=self.sample, on_damage=self.on_damage)

    def _check_arguments(self) -> None:
        problem = None
        if self.action not in ("audit", "rollback", "collect_garbage"):
            problem = f"action is {self.action!r}; there are audit, rollback, collect_garbage"
        elif self.on_damage not in ("fail", "report", "heal"):
            problem = f"on_damage is {self.on_damage!r}; there are fail, report, heal"
        elif self.on_damage == "heal" and (self.action != "audit" or self.sample is not None):
            problem = "on_damage='heal' is for an audit of all documents (sample=None)"
        elif self.sample is not None and self.sample < 1:
            problem = f"sample is {self.sample}, the least is 1"
        elif self.keep is not None and self.keep < 1:
            problem = f"keep is {self.keep}, the least is 1"
        elif self.action != "collect_garbage" and (self.only_list or self.keep is not None):
            problem = "keep and dry_run are for collect_garbage"
        elif self.action == "collect_garbage" and self.version is not None:
            problem = "version is for audit and rollback"
        if problem:
            raise InvalidArgument(f"Index {self.index.name!r}: {problem}")
