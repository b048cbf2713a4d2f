"""What plan, shards and the run that finishes must do together, whatever the store and whatever goes wrong in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.operators import (
    VectorIndexOperator,
    VectorShardOperator,
    VectorShardPlanOperator,
)
from airflow_provider_mlops.vector import CallableEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.errors import IndexBusy, TooManyDeletes
from airflow_provider_mlops.vector.search import search
from airflow_provider_mlops.vector.stores import open_store
from airflow_provider_mlops.vector.stores.base import Store, Written
from tests.unit.vector.indexing_contract import document, documents

SHARDS = 3
EMBEDDER = CallableEmbedder("tests.unit.vector.shard_child:embed", 64)


def context(task: str, *, run: str = "r", shard: int = -1, attempt: int = 1) -> dict[str, Any]:
    return {"ti": SimpleNamespace(dag_id="d", run_id=run, task_id=task, map_index=shard, try_number=attempt)}


class ShardContract:
    """Subclasses provide ``index``, whose connection Airflow knows, with :data:`EMBEDDER`."""

    @pytest.fixture(autouse=True)
    def _remember(self, index: VectorIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.index, self.folder = index, tmp_path
        monkeypatch.setenv("EMBEDDED_TEXTS", str(tmp_path / "embedded"))
        self.put(documents())

    def put(self, docs: list[dict[str, Any]]) -> None:
        (self.folder / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))

    @property
    def source(self) -> str:
        return str(self.folder / "docs.jsonl")

    def embedded(self) -> list[str]:
        """Texts that were embedded since the last call."""
        path = self.folder / "embedded"
        texts = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return texts

    def opened(self) -> AbstractContextManager[Store]:
        index = self.index
        return open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=connection_info
        )

    def plan(self, run: str = "r", **arguments: Any) -> Any:
        task = VectorShardPlanOperator(
            task_id="plan", index=self.index, **{"source": self.source, "shards": SHARDS, **arguments}
        )
        # As Airflow hands it on.
        return json.loads(json.dumps(task.execute(context("plan", run=run))))

    def load(self, plan: Any, shard: int, *, attempt: int = 1, **arguments: Any) -> Any:
        arguments = {"index": self.index, "source": self.source, "batch_size": 7, **arguments}
        task = VectorShardOperator(task_id="load", plan=plan, shard=shard, **arguments)
        return json.loads(json.dumps(task.execute(context("load", shard=shard, attempt=attempt))))

    def start(self, plan: Any, shard: int, **env: str) -> subprocess.Popen[str]:
        arguments = {
            "index": self.index.to_json(), "source": self.source, "plan": plan, "shard": shard,
        }  # fmt: skip
        code = "import json, sys; from tests.unit.vector.shard_child import child; child(json.loads(sys.argv[1]))"
        return subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(arguments)],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def ended(process: subprocess.Popen[str]) -> Any:
        """What the child has loaded, or its exit code."""
        out, _ = process.communicate(timeout=250)
        return json.loads(out.splitlines()[-1]) if process.returncode == 0 else process.returncode

    @staticmethod
    def said(plan: Any, shard: int, loaded: Any) -> Any:
        """The payload of a shard that ran as a child."""
        keys = ("index", "version", "mode", "holder", "token", "clean", "shards")
        return {"kind": "vector.shard", "shard": shard, **{key: plan[key] for key in keys}, **loaded}

    def finish(self, loaded: Any, *, run: str = "r", source: Any = None, **arguments: Any) -> Any:
        task = VectorIndexOperator(
            task_id="index", index=self.index, source=source or self.source, loaded=loaded, **arguments
        )
        return task.execute(context("index", run=run))

    def live(self) -> dict[str, str]:
        with self.opened() as store:
            live = store.live()
            if live is None:
                return {}
            snapshot = store.read(live.name)
            rows = snapshot.rows([chunk for chunk, _, _ in snapshot.scan()])
            assert snapshot.count() == len(rows), "a chunk is there twice"
            assert snapshot.unfindable(list(rows)) == []
        return {row.doc: row.text for row in rows.values()}

    def expect_live(self, docs: list[dict[str, Any]]) -> None:
        assert self.live() == {doc["id"]: doc["text"] for doc in docs}

    def looked_up(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Ids that the run that finishes looks up from now on."""
        from airflow_provider_mlops.vector import indexing

        seen: list[str] = []
        inner = indexing.heal

        def heal(build: Any, ids: Any, lease: Any) -> int:
            ids = list(ids)
            seen.extend(ids)
            return inner(build, ids, lease)

        monkeypatch.setattr(indexing, "heal", heal)
        return seen

    # --- good days ---

    def test_processes_load_one_version_at_once_and_the_run_makes_it_live(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = self.plan()
        assert (plan["action"], plan["by"], plan["to_embed"], plan["chunks"]) == ("built", "key", 60, 60)
        assert self.live() == {}
        processes = [self.start(plan, number) for number in range(SHARDS)]
        shards = [self.said(plan, number, self.ended(process)) for number, process in enumerate(processes)]
        assert sum(shard["chunks"] for shard in shards) == 60
        assert all(0 < shard["written"] < 60 for shard in shards)
        assert self.live() == {}
        assert sorted(self.embedded()) == sorted(doc["text"] for doc in documents())
        looked_up = self.looked_up(monkeypatch)
        outcome = self.finish(iter(shards))
        assert (outcome["action"], outcome["active"], outcome["version"]) == ("built", True, plan["version"])
        assert (outcome["added"], outcome["embedded"], outcome["cached"]) == (60, 60, 0)
        assert self.embedded() == []
        # The shards have looked theirs up, and say so.
        assert looked_up == []
        self.expect_live(documents())
        assert search(self.index, "page17", k=1, connections=connection_info)[0].doc == "doc17"

    def test_only_what_changed_is_embedded_and_stale_documents_go(self) -> None:
        VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        self.embedded()
        changed = [*documents()[1:], document(100)]
        changed[3] = document(4, text="something entirely new")
        changed[4] = document(5, year=1)
        self.put(changed)
        plan = self.plan()
        assert (plan["action"], plan["base_version"], plan["to_embed"]) == ("synced", plan["base_version"], 2)
        self.expect_live(documents())
        shards = [self.load(plan, number) for number in range(SHARDS)]
        assert sorted(self.embedded()) == sorted(["something entirely new", document(100)["text"]])
        self.expect_live(documents())
        outcome = self.finish(shards)
        assert (outcome["action"], outcome["embedded"], outcome["previous_version"]) == (
            "synced", 2, plan["base_version"],
        )  # fmt: skip
        assert self.embedded() == []
        self.expect_live(changed)

    def test_nothing_to_do_takes_no_lease_and_writes_nothing(self) -> None:
        VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        self.embedded()
        with self.opened() as store:
            before = store.versions()
        plan = self.plan()
        assert (plan["action"], plan["token"]) == ("unchanged", None)
        with self.opened() as store, store.lease("somebody"):
            shards = [self.load(plan, number) for number in range(SHARDS)]
        assert {shard["chunks"] for shard in shards} == {0}
        outcome = self.finish(shards)
        assert (outcome["action"], outcome["version"]) == ("unchanged", plan["version"])
        with self.opened() as store:
            assert store.versions() == before

    def test_rebuild_is_one_version_through_plan_retry_shards_and_finish(self) -> None:
        VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        plan = self.plan(mode="rebuild")
        assert (plan["action"], plan["base_version"]) == ("built", None)
        self.embedded()
        shards = [self.load(plan, 0)]
        again = self.plan(mode="rebuild")
        assert again["version"] == plan["version"]
        shards = [self.load(again, number) for number in range(SHARDS)]
        assert len(self.embedded()) == 60
        outcome = self.finish(shards)
        assert (outcome["version"], outcome["action"]) == (plan["version"], "built")
        # A Clear of the finished task alone finds the version done.
        assert self.finish(shards)["action"] == "unchanged"
        self.expect_live(documents())

    def test_files_are_shared_out_where_there_are_enough(self) -> None:
        for number in range(8 * SHARDS):
            lines = "".join(json.dumps(doc) + "\n" for doc in documents()[number::24])
            (self.folder / f"part-{number}.jsonl").write_text(lines)
        source = str(self.folder / "part-*.jsonl")
        plan = self.plan(source=source)
        assert plan["by"] == "file"
        shards = [self.load(plan, number, source=source) for number in range(SHARDS)]
        assert sum(shard["documents"] for shard in shards) == 60
        outcome = self.finish(shards, source=source)
        assert (outcome["embedded"], outcome["active"]) == (60, True)
        with pytest.raises(InvalidArgument, match="the same source"):
            self.load({**plan, "token": "t"}, 0, source=Records(documents))

    # --- bad days ---

    def test_killed_shard_is_tried_again_and_embeds_only_what_it_had_not_written(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = self.plan()
        assert self.ended(self.start(plan, 0, DIE_AFTER_TEXTS="12")) == -signal.SIGKILL
        assert 0 < len(self.embedded()) < 20
        others = [self.load(plan, number) for number in (1, 2)]
        self.embedded()
        retried = self.load(plan, 0, attempt=2)
        assert retried["written"] < retried["chunks"]
        assert len(self.embedded()) == retried["written"] == retried["embedded"]
        # What the killed try has met, nobody knows: everything is looked up.
        assert not retried["smooth"]
        looked_up = self.looked_up(monkeypatch)
        assert self.finish([*others, retried])["active"]
        assert len(looked_up) == 60
        self.expect_live(documents())

    def test_shard_that_never_ran_only_costs_time(self) -> None:
        plan = self.plan()
        shards = [self.load(plan, 1)]
        self.embedded()
        outcome = self.finish(shards)
        assert outcome["version"] == plan["version"]
        assert len(self.embedded()) == 60 - shards[0]["chunks"]
        assert outcome["embedded"] == 60
        self.expect_live(documents())

    def test_plan_alone_is_enough_for_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan()
        for number in range(SHARDS):
            self.load(plan, number)
        self.embedded()
        looked_up = self.looked_up(monkeypatch)
        assert self.finish(plan)["version"] == plan["version"]
        assert (self.embedded(), len(looked_up)) == ([], 60)
        self.expect_live(documents())

    def test_late_shard_is_fenced_off(self) -> None:
        plan = self.plan()
        shards = [self.load(plan, number) for number in range(SHARDS)]
        self.finish(shards)
        with pytest.raises(IndexBusy, match="is over"):
            self.load(plan, 0)
        self.expect_live(documents())
        with self.opened() as store:
            assert [version.state for version in store.versions()] == ["built"]

    def test_shard_in_the_middle_stops_when_the_run_takes_over(self) -> None:
        plan = self.plan()
        outcomes: list[Any] = []

        def slow() -> Any:
            for number, doc in enumerate(documents()):
                if number == 30:
                    outcomes.append(self.finish(plan))
                yield doc

        with pytest.raises(IndexBusy):
            self.load({**plan, "shards": 1}, 0, source=Records(slow))
        assert [outcome["active"] for outcome in outcomes] == [True]
        self.expect_live(documents())

    def test_plan_made_anew_goes_on_with_the_version_and_stops_the_earlier_shards(self) -> None:
        first = self.plan()
        done = self.load(first, 0)
        self.embedded()
        second = self.plan()
        assert (second["version"], second["token"] != first["token"]) == (first["version"], True)
        with pytest.raises(IndexBusy):
            self.load(first, 1)
        again = self.load(second, 0)
        assert (again["chunks"], again["written"]) == (done["chunks"], 0)
        shards = [again, *(self.load(second, number) for number in (1, 2))]
        assert len(self.embedded()) == 60 - done["chunks"]
        assert self.finish(shards)["active"]
        self.expect_live(documents())

    def test_run_that_was_killed_is_tried_again_and_trusts_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = self.plan()
        shards = [self.load(plan, number) for number in range(SHARDS)]
        self.put([*documents(), document(100)])
        from airflow_provider_mlops.vector import indexing

        def fails(*_: Any) -> None:
            raise ConnectionError("the worker is gone")

        with monkeypatch.context() as patch:
            patch.setattr(indexing, "check_contents", fails)
            with pytest.raises(ConnectionError):
                self.finish(shards)
        looked_up = self.looked_up(monkeypatch)
        self.embedded()
        outcome = self.finish(shards)
        assert (outcome["version"], self.embedded()) == (plan["version"], [])
        assert len(looked_up) == 61
        self.expect_live([*documents(), document(100)])

    def test_other_runs_wait_until_the_lease_ends_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan()
        with pytest.raises(IndexBusy):
            self.plan(run="other")
        with pytest.raises(IndexBusy):
            VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        # No shard ran for longer than a lease lasts, and nobody came: it still counts.
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 700)
        shards = [self.load(plan, 0)]
        # A shard has prolonged it.
        with pytest.raises(IndexBusy):
            self.plan(run="other")
        monkeypatch.setattr(time, "time", lambda: now + 1400)
        other = self.plan(run="other")
        # The work of the first run is not lost.
        assert other["version"] == plan["version"]
        with pytest.raises(IndexBusy):
            self.load(plan, 1)
        with pytest.raises(IndexBusy):
            self.finish(shards)
        self.embedded()
        assert self.finish([self.load(other, n) for n in range(SHARDS)], run="other")["active"]
        assert len(self.embedded()) == 60 - shards[0]["chunks"]
        self.expect_live(documents())
        # The first run's own end finds nothing left to do.
        assert self.finish(shards)["action"] == "unchanged"

    def test_source_that_changes_in_between_is_what_counts_in_the_end(self) -> None:
        plan = self.plan()
        shards = [self.load(plan, number) for number in range(SHARDS)]
        changed = [*documents()[6:], document(100)]
        self.put(changed)
        self.finish(shards)
        self.expect_live(changed)

    def test_record_that_comes_twice_is_there_once(self) -> None:
        doubled = [*documents(), document(3, text="another text"), document(4, year=7)]
        self.put(doubled)
        plan = self.plan(max_bad_fraction=0.1)
        assert plan["bad"] == 2
        shards = [self.load(plan, number) for number in range(SHARDS)]
        self.finish(shards, max_bad_fraction=0.1)
        self.expect_live(documents())

    def test_lost_answers_make_the_run_look_everything_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_provider_mlops.vector import outbox

        plan = self.plan()
        with self.opened() as store:
            build_class = type(store.resume(plan["version"]))
        inner = build_class.upsert
        lost: list[str] = []

        def upsert(build: Any, rows: Any, *, lacking: bool = False) -> Written:
            written = inner(build, rows, lacking=lacking)
            if not lost:
                lost.append(rows[0].id)
                build.flush()
                written.uncertain.append(rows[0].id)
            return written

        monkeypatch.setattr(build_class, "upsert", upsert)
        monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.0)
        rough = self.load(plan, 0)
        assert not rough["smooth"]
        looked_up = self.looked_up(monkeypatch)
        self.finish([rough, *(self.load(plan, number) for number in (1, 2))])
        assert len(looked_up) == 60

    # --- refusals, before anything is written ---

    def test_plan_refuses_what_the_run_would_refuse(self) -> None:
        VectorIndexOperator(task_id="t", index=self.index, source=self.source).execute(context("t"))
        self.put(documents()[:10])
        with pytest.raises(TooManyDeletes):
            self.plan()
        with self.opened() as store, store.lease("somebody") as lease:
            assert not lease.unclean
            assert len(store.versions()) == 1

    def test_wrong_arguments(self) -> None:
        plan = self.plan()
        wrong: list[tuple[Callable[[], Any], str]] = [
            (lambda: self.load(plan, SHARDS), "shard is 3"),
            (lambda: self.load(plan, 0, index=replace(self.index, metric="dot")), "fingerprint"),
            (lambda: self.load({"kind": "vector.index"}, 0), "VectorShardPlanOperator"),
            (lambda: self.load(plan, 0, batch_size=0), "batch_size"),
            (lambda: self.plan(shards=0), "shards is 0"),
            (lambda: self.finish([]), "no shard"),
            (lambda: self.finish({"kind": "corpus"}), "of kind 'corpus'"),
            (lambda: self.finish("text"), "loaded is a str"),
            (lambda: self.finish([plan, {**plan, "holder": "x"}]), "different plans"),
            (lambda: self.finish(plan, mode="rebuild"), "the plan's task has the mode"),
        ]
        for call, message in wrong:
            with pytest.raises(InvalidArgument, match=message):
                call()
        assert self.embedded() == []
