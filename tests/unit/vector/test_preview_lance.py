"""Dry runs on LanceDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder, SentenceChunker, VectorIndex
from airflow_provider_mlops.vector.activate import IndexRef
from tests.unit.vector.preview_contract import PreviewContract
from tests.unit.vector.task_contract import documents

pytest.importorskip("lancedb")


class TestPreviewOnLance(PreviewContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        self.folder = tmp_path / "lance"
        return VectorIndex(
            "Docs", embedder=HashEmbedder(64), chunker=SentenceChunker(max_size=40), uri=str(self.folder)
        )

    def traces(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def test_new_index_leaves_no_folder(self) -> None:
        self.plan(documents())
        assert not self.traces()

    def test_changes_are_written_beside_the_live_version(self) -> None:
        self.build(documents())
        plan = self.plan(documents(21))
        assert (plan["in_place"], plan["version"].split("_")[0]) == (False, "v2")
        assert "written beside it" in plan["reason"]

    def test_plan_is_nothing_that_a_release_could_make_live(self) -> None:
        with pytest.raises(InvalidArgument, match=r"vector\.plan"):
            IndexRef.from_payload(self.plan(documents()))
