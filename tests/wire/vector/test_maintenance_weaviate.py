"""The maintenance task on a real Weaviate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.vector.errors import IndexDamaged
from airflow_provider_mlops.vector.stores.weaviate import WeaviateSnapshot
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.unit.vector.maintenance_contract import MaintenanceContract
from tests.unit.vector.task_contract import documents


class TestMaintenanceOnWeaviate(MaintenanceContract):
    def test_chunks_that_are_not_found_are_written_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.build(documents())
        finds, lost = WeaviateSnapshot.unfindable, 3

        def blind(snapshot: WeaviateSnapshot, ids: Sequence[str]) -> list[str]:
            nonlocal lost
            missed = sorted(ids)[:lost]
            # Twice: for the look, and for the look before the repair.
            calls.append(len(missed))
            lost = 0 if len(calls) == 2 else lost
            return [*missed, *finds(snapshot, [chunk for chunk in ids if chunk not in missed])]

        calls: list[int] = []
        monkeypatch.setattr(WeaviateSnapshot, "unfindable", blind)
        audit = self.care("audit", sample=None, on_damage="heal")["audit"]
        assert audit is not None
        assert (audit["unfindable"], audit["healed"], audit["problems"]) == (3, 3, [])
        audit = self.care("audit", sample=None)["audit"]
        assert audit is not None
        assert (audit["unfindable"], audit["problems"]) == (0, [])

    def test_alias_whose_target_is_gone_is_damage_and_rollback_mends_it(self) -> None:
        first = self.build(documents())
        second = self.build(documents(word="sheet"))
        with connect(connection_info("w")) as client:
            client.collections.delete(f"{self.index.name}_{second}")
        with pytest.raises(IndexDamaged, match="points to is gone"):
            self.care("audit")
        assert self.care("rollback")["version"] == first
        assert self.live() == first
        assert not self.care("audit")["damaged"]

    def test_version_behind_another_alias_stays(self) -> None:
        versions = [self.build(documents(word=f"w{number}x")) for number in range(3)]
        paper = f"{self.index.name}paper"
        with connect(connection_info("w")) as client:
            client.alias.create(alias_name=paper, target_collection=f"{self.index.name}_{versions[0]}")
            try:
                assert self.care("collect_garbage", keep=1)["dropped"] == [versions[1]]
            finally:
                client.alias.delete(alias_name=paper)

    def test_word_tokenization_of_the_key_is_damage(self) -> None:
        from weaviate.classes.config import Configure, DataType, Property

        version = self.build(documents())
        physical = f"{self.index.name}_{version}"
        with connect(connection_info("w")) as client:
            client.collections.delete(physical)
            client.collections.create(
                physical,
                properties=[
                    Property(name="doc", data_type=DataType.TEXT),
                    Property(name="digest", data_type=DataType.TEXT),
                    Property(name="ordinal", data_type=DataType.NUMBER),
                ],
                vector_config=Configure.Vectors.self_provided(name="other"),
            )
        audit = self.care("audit", on_damage="report")["audit"]
        assert audit is not None
        assert audit["problems"] == [
            "property 'doc' has tokenization word, not field",
            "property 'ordinal' is number, not int",
            "property 'digest' has tokenization word, not field",
            "property 'text' is missing",
            "there is no vector 'default'",
        ]
