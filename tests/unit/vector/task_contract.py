"""What tests of this station's tasks share: an index that they build, and looks into its store."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import Records, VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store

CONTEXT = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}
TEXT = "The first part speaks of amber. The second part speaks of birch. The third part speaks of cedar."


def documents(count: int = 20, word: str = "page") -> list[dict[str, Any]]:
    return [{"id": f"doc{number}", "text": f"{TEXT} {word}{number}."} for number in range(count)]


class TaskContract:
    """Subclasses provide ``index``, whose connection Airflow knows, with a chunker that makes several chunks."""

    @pytest.fixture(autouse=True)
    def _remember(self, index: VectorIndex) -> None:
        self.index = index

    def opened(self) -> AbstractContextManager[Store]:
        index = self.index
        return open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connection_info
        )

    def build(self, docs: list[dict[str, Any]], **arguments: Any) -> str:
        arguments = {"index": self.index, "mode": "rebuild", **arguments}
        task = VectorIndexOperator(task_id="t", source=Records(lambda: docs), **arguments)
        return task.execute(CONTEXT)["version"]

    def names(self) -> list[str]:
        with self.opened() as store:
            return [version.name.split("_")[0] for version in store.versions()]

    def live(self) -> str:
        with self.opened() as store:
            live = store.live()
            return live.name if live else "none"
