"""What the operators of this station tell OpenLineage, in success and in failure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.compat import Context, operator_lineage, query_inputs, tells_lineage
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector.errors import GateRejected, IndexDamaged
from airflow_provider_mlops.vector.hook import placed
from airflow_provider_mlops.vector.lineage import Place, care_facts, file_places, index_facts, index_place
from airflow_provider_mlops.vector.sources import SqlSource
from airflow_provider_mlops.vector.spec import VectorIndex

R = TypeVar("R")


def noting(execute: Callable[[Any, Context], R]) -> Callable[[Any, Context], R]:
    """Decorator for ``execute``: keeps what became of it, for those who are asked once it is over."""

    @functools.wraps(execute)
    def noted(self: LineageOperator, context: Context) -> R:
        try:
            payload = execute(self, context)
        except Exception as error:
            self.note({"error": type(error).__name__, **self.reported(error)})
            raise
        self.note(payload)  # type: ignore[arg-type]
        return payload

    return noted


class LineageOperator:
    """The part of an operator that OpenLineage's provider asks. Its ``execute`` is decorated with :func:`noting`."""

    index: VectorIndex
    _noted: tuple[Place, Mapping[str, Any]] | None = None

    def note(self, facts: Mapping[str, Any]) -> None:
        """Keep what is known, and where the index is, if anybody will ask."""
        if not tells_lineage():
            return
        try:
            index = placed(self.index)
            connection = connection_info(index.connection) if index.connection else None
            self._noted = index_place(index, connection), facts
        except MlopsError:
            self._noted = None  # there is no index to tell of; the task has failed for the same reason

    def reported(self, error: Exception) -> dict[str, Any]:
        """What is known in spite of a failure, under the payload's keys."""
        return {"index": self.index.name, "backend": self.index.backend}

    def lineage(self, place: Place, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of ``operator_lineage``."""
        raise NotImplementedError

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The run for OpenLineage; ``None`` without its provider."""
        if self._noted is None:
            return None
        try:
            return operator_lineage(**self.lineage(*self._noted))
        except ImportError:
            return None

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """The run that failed, with what it had measured."""
        return self.get_openlineage_facets_on_complete(task_instance)


class IndexLineage(LineageOperator):
    """Of an index run: reads its source and its golden queries, writes the index."""

    source: Any
    golden: Any
    gate: Any

    def reported(self, error: Exception) -> dict[str, Any]:
        """With the figures of a gate that said no."""
        rejected = {"gate": error.fields.get("report")} if isinstance(error, GateRejected) else {}
        return {**super().reported(error), **rejected}

    def lineage(self, place: Place, facts: Mapping[str, Any]) -> dict[str, Any]:
        """See :func:`~airflow_provider_mlops.vector.lineage.index_facts`."""
        if isinstance(self.source, SqlSource):
            inputs: list[Any] = query_inputs(self.source.conn_id, self.source.sql)
        else:
            inputs = list(file_places(_uris(self.source)))
        inputs += file_places(_uris(self.golden))
        return index_facts(self.index, place, inputs, self.gate, facts)


class CareLineage(LineageOperator):
    """Of care between runs: an audit reads the index, a rollback changes it."""

    action: Any

    def reported(self, error: Exception) -> dict[str, Any]:
        """With what an audit has found."""
        damage = {"audit": error.fields.get("report")} if isinstance(error, IndexDamaged) else {}
        return {**super().reported(error), "action": self.action, **damage}

    def lineage(self, place: Place, facts: Mapping[str, Any]) -> dict[str, Any]:
        """See :func:`~airflow_provider_mlops.vector.lineage.care_facts`."""
        return care_facts(place, facts)


def _uris(given: Any) -> list[str]:
    """The URIs in an argument as it was rendered; none in a function or a missing one."""
    value = given.get("uri") if isinstance(given, Mapping) else given
    values = value if isinstance(value, list | tuple) else [value]
    return [uri for uri in values if isinstance(uri, str) and uri]
