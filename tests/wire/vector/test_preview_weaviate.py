"""Dry runs on a real Weaviate."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.vector import Gate
from airflow_provider_mlops.vector.stores.weaviate_client import connect
from tests.unit.vector.preview_contract import PreviewContract
from tests.unit.vector.task_contract import documents


class TestPreviewOnWeaviate(PreviewContract):
    def traces(self) -> Any:
        with connect(connection_info("w")) as client:
            own = [name for name in client.collections.list_all() if name.startswith(f"{self.index.name}_")]
            return {
                name: sorted(
                    (
                        str(item.uuid),
                        str(item.metadata.last_update_time),
                        sorted(map(str, item.properties.items())),
                    )
                    for item in client.collections.use(name).iterator(return_metadata=["last_update_time"])
                )
                for name in own
            }

    def test_whether_readers_would_see_the_differences_come_is_said(self, tmp_path: Any) -> None:
        self.build(documents())
        plan = self.plan(documents(21))
        assert (plan["in_place"], plan["version"].split("_")[0]) == (True, "v1")
        assert "written into it" in plan["reason"]
        golden = tmp_path / "golden.jsonl"
        golden.write_text('{"query": "page3", "expected": ["doc3"]}\n')
        plan = self.plan(documents(21), gate=Gate(str(golden), min_recall=0.5))
        assert (plan["in_place"], plan["version"].split("_")[0]) == (False, "v2")
