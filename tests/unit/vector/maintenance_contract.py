"""What the maintenance task must do, whatever the store; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.operators import VectorIndexMaintenanceOperator
from airflow_provider_mlops.payloads import VectorMaintenancePayload
from airflow_provider_mlops.vector import HashEmbedder
from airflow_provider_mlops.vector.errors import IndexBusy, IndexDamaged, VersionIncomplete, VersionMissing
from airflow_provider_mlops.vector.ids import chunk_ids
from airflow_provider_mlops.vector.stores.base import Row, version_name
from tests.unit.vector.task_contract import CONTEXT, TaskContract, documents

FIGURES = ("repeated", "missing", "doubled", "foreign", "without_vector", "unfindable")


class MaintenanceContract(TaskContract):
    """Subclasses provide ``index``, see :class:`TaskContract`."""

    def care(self, action: Any, **arguments: Any) -> VectorMaintenancePayload:
        arguments = {"index": self.index, **arguments}
        return VectorIndexMaintenanceOperator(task_id="t", action=action, **arguments).execute(CONTEXT)

    def spoil(self, change: Callable[[list[Row]], Iterable[Row]]) -> str:
        """Make a version live that holds something else than the one before."""
        with self.opened() as store:
            live = store.live()
            assert live is not None
            snapshot = store.read(live.name)
            rows = sorted(
                snapshot.rows([chunk for chunk, _, _ in snapshot.scan()]).values(),
                key=lambda row: (row.doc, row.ordinal),
            )
            name = version_name(live.number + 1, self.index.fingerprint())
            build = store.begin(name, self.index.layout(), None)
            written = build.upsert(list(change(rows)), lacking=True)
            assert (written.uncertain, written.refused) == ([], {})
            build.settle()
            build.seal()
            store.activate(name)
            return name

    def test_sound_index_has_no_damage(self) -> None:
        version = self.build(documents())
        payload = self.care("audit", sample=None)
        assert (payload["version"], payload["damaged"], payload["dropped"]) == (version, False, [])
        audit = payload["audit"]
        assert audit is not None
        assert audit["problems"] == []
        assert audit["documents"] == 20
        assert audit["chunks"] == audit["counted"] == audit["checked"] > 40
        assert VectorMaintenancePayload.__required_keys__ == payload.keys()

    def test_sample_looks_at_whole_documents(self) -> None:
        self.build(documents())
        audit = self.care("audit", sample=2)["audit"]
        assert audit is not None
        assert (audit["checked"] * 10, audit["missing"], audit["problems"]) == (audit["chunks"], 0, [])

    @pytest.mark.parametrize("figure", ["missing", "doubled", "foreign", "without_vector"])
    def test_damage_is_counted_and_fails(self, figure: str) -> None:
        def change(rows: list[Row]) -> list[Row]:
            first = next(row for row in rows if row.ordinal == 1)
            others = [row for row in rows if row is not first]
            if figure == "missing":
                return others
            if figure == "doubled":
                (left_over,) = chunk_ids(self.index.name, first.doc, ["an older text"])
                return [*rows, first._replace(id=left_over, text="an older text")]
            if figure == "foreign":
                return [*others, first._replace(text="changed by hand")]
            return [*others, first._replace(vector=first.vector * 0)]

        self.build(documents())
        spoiled = self.spoil(change)
        payload = self.care("audit", sample=None, on_damage="report")
        audit = payload["audit"]
        assert audit is not None
        found = {name: audit[name] for name in FIGURES if audit[name] and name != "unfindable"}
        assert (payload["damaged"], payload["version"], found) == (True, spoiled, {figure: 1})
        with pytest.raises(IndexDamaged, match="1 chunks") as caught:
            self.care("audit", sample=None)
        assert caught.value.report[figure] == 1  # type: ignore[index]

    def test_version_of_another_declaration_is_no_damage(self) -> None:
        self.build(documents())
        audit = self.care("audit", index=replace(self.index, embedder=HashEmbedder(32)), sample=None)["audit"]
        assert audit is not None
        assert (audit["outdated"], audit["problems"]) == (True, [])

    def test_index_without_versions_is_said_to_have_none(self) -> None:
        for action in ("audit", "rollback"):
            with pytest.raises(VersionMissing, match="never built"):
                self.care(action)
        for dry_run in (True, False):
            assert self.care("collect_garbage", dry_run=dry_run)["dropped"] == []
        self.build(documents(), activate=False)
        with pytest.raises(VersionMissing, match="no live version"):
            self.care("audit")
        with pytest.raises(VersionMissing, match="older than the live one"):
            self.care("rollback")

    def test_rollback_goes_to_the_version_before_and_can_go_forward_again(self) -> None:
        first = self.build(documents())
        second = self.build(documents(word="sheet"))
        payload = self.care("rollback")
        assert (payload["version"], payload["previous_version"]) == (first, second)
        assert self.live() == first
        assert self.care("rollback", version={"kind": "vector.index", "version": second})["version"] == second
        assert self.live() == second

    def test_rollback_refuses_a_damaged_version_and_moves_nothing(self) -> None:
        self.build(documents())
        spoiled = self.spoil(lambda rows: [row for row in rows if row.ordinal != 1])
        third = self.build(documents(word="sheet"))
        with pytest.raises(IndexDamaged, match="missing"):
            self.care("rollback")
        assert self.live() == third
        assert self.care("rollback", on_damage="report")["damaged"]
        assert self.live() == spoiled

    def test_rollback_refuses_what_is_not_there_or_not_finished(self) -> None:
        first = self.build(documents())
        with pytest.raises(VersionMissing, match="v9_00000000"):
            self.care("rollback", version="v9_00000000")
        with pytest.raises(VersionMissing, match="older than the live one"):
            self.care("rollback")
        attempt = version_name(2, self.index.fingerprint())
        with self.opened() as store:
            store.begin(attempt, self.index.layout(), None)
        with pytest.raises(VersionIncomplete, match="building"):
            self.care("rollback", version=attempt)
        assert self.live() == first

    def test_garbage_is_what_is_neither_new_nor_live(self) -> None:
        versions = [self.build(documents(word=f"w{number}x")) for number in range(3)]
        self.care("rollback", version=versions[0])
        assert self.names() == ["v3", "v2", "v1"]
        listed = self.care("collect_garbage", keep=1, dry_run=True)
        assert (listed["dropped"], listed["dry_run"], self.names()) == (
            [versions[1]],
            True,
            ["v3", "v2", "v1"],
        )
        assert self.care("collect_garbage")["dropped"] == []
        assert self.care("collect_garbage", keep=1)["dropped"] == [versions[1]]
        assert (self.names(), self.live()) == (["v3", "v1"], versions[0])

    def test_nothing_is_collected_or_moved_while_a_run_is_at_work(self) -> None:
        self.build(documents())
        self.build(documents(word="sheet"))
        with self.opened() as store, store.lease("another run"):
            for action in ("audit", "rollback", "collect_garbage"):
                with pytest.raises(IndexBusy, match="another run"):
                    self.care(action)
            listed = self.care("collect_garbage", keep=1, dry_run=True)
        assert (len(listed["dropped"]), self.names()) == (1, ["v2", "v1"])

    def test_maintenance_does_not_call_an_unclean_index_clean(self) -> None:
        self.build(documents())

        def fail() -> None:
            with self.opened() as store, store.lease("killed") as lease:
                lease.writing()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        for _ in range(2):
            audit = self.care("audit")["audit"]
            assert audit is not None
            assert (audit["unclean"], audit["problems"]) == (True, [])
        self.care("collect_garbage")
        with self.opened() as store, store.lease("next") as lease:
            assert lease.unclean

    @pytest.mark.parametrize(
        "arguments",
        [
            {"action": "repair"},
            {"action": "audit", "on_damage": "ignore"},
            {"action": "audit", "on_damage": "heal"},
            {"action": "rollback", "on_damage": "heal", "sample": None},
            {"action": "audit", "sample": 0},
            {"action": "audit", "keep": 2},
            {"action": "rollback", "dry_run": True},
            {"action": "collect_garbage", "keep": 0},
            {"action": "collect_garbage", "version": "v1_00000000"},
        ],
    )
    def test_wrong_arguments_are_refused(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(InvalidArgument, match=self.index.name):
            self.care(**arguments)
