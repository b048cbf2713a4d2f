"""Whole runs on LanceDB."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
from tests.unit.vector.indexing_contract import IndexingContract, Watched, documents

pytest.importorskip("lancedb")


class TestIndexingOnLance(IndexingContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> VectorIndex:
        return VectorIndex(
            "Docs", embedder=HashEmbedder(64), properties={"year": "int"}, uri=str(tmp_path), full_text=True
        )

    def test_search_needs_no_airflow_and_warns_of_nothing(self, index: VectorIndex) -> None:
        self.run(documents())
        code = (
            "import os, sys; sys.modules['airflow'] = sys.modules['weaviate'] = None\n"
            "import json\n"
            "from airflow_provider_mlops.vector import VectorIndex\n"
            "from airflow_provider_mlops.vector.search import search\n"
            "index = VectorIndex.from_json(json.loads(sys.argv[1]))\n"
            "print(search(index, 'page33', k=2)[0].doc, search(index, 'page34', full_text=True)[0].doc)\n"
            # Threads of older LanceDBs may meet an interpreter that is going down.
            "sys.stdout.flush(); os._exit(0)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(index.to_json())],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout.split(), done.stderr) == (["doc33", "doc34"], "")

    def test_chunks_that_two_writers_left_twice_are_there_once_in_the_end(self, index: VectorIndex) -> None:
        with pytest.raises(ConnectionError):
            self.run(documents(), index=replace(index, embedder=Watched(fail_after=40)))
        with self.opened() as store:
            build = store.resume(store.versions()[0].name)
            rows = list(build.rows([chunk for chunk, _, _ in build.scan()]).values())
            # A run whose lease was taken over, and that did not notice in time, appends once more.
            build.upsert(rows, lacking=True)
            assert build.count() == 64
        self.run(documents())
        with self.opened() as store:
            live = store.live()
            assert live is not None
            assert store.read(live.name).count() == 60
        assert self.live() == {doc["id"]: doc["text"] for doc in documents()}
