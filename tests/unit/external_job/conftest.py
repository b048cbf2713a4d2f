from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.external_job.fake_remote import REMOTES, FakeRemote


class FakeTaskInstance(SimpleNamespace):
    """What the operators use of a task instance; XCom in a dict."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcom.get(key)


@pytest.fixture
def remote() -> FakeRemote:
    remote = FakeRemote()
    remote.name = uuid.uuid4().hex
    REMOTES[remote.name] = remote
    return remote


@pytest.fixture
def new_context():
    """Make the context of one attempt; ``store`` is the 3.3 task state store."""

    def make(try_number: int = 1, max_tries: int = 2, store: dict[str, Any] | None = None) -> dict[str, Any]:
        ti = FakeTaskInstance(
            dag_id="d",
            run_id="r",
            task_id="t",
            map_index=-1,
            job_id=7,
            try_number=try_number,
            max_tries=max_tries,
            xcom={},
        )
        started = datetime.now(UTC) - timedelta(minutes=5)
        context: dict[str, Any] = {"ti": ti, "dag_run": SimpleNamespace(start_date=started, clear_number=0)}
        if store is not None:
            context["task_state_store"] = SimpleNamespace(get=store.get, set=store.__setitem__)
        return context

    return make
