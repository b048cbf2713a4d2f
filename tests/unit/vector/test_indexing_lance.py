"""Whole runs on LanceDB."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import Gate, HashEmbedder, VectorIndex
from airflow_provider_mlops.vector.search import search
from tests.unit.vector.indexing_contract import GOLDEN, IndexingContract, Watched, documents

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
            "print(search(index, 'page33', k=2)[0].doc, search(index, 'page34', mode='words')[0].doc)\n"
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

    def test_gate_that_asks_by_words_is_refused_where_no_words_are_kept(self, index: VectorIndex) -> None:
        silent = replace(index, full_text=False)
        for mode in ("words", "hybrid"):
            gate = (Gate("golden.jsonl", min_recall=0.5, search=mode), GOLDEN)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match="full-text index"):
                self.run(documents(), index=silent, gate=gate)
            with pytest.raises(InvalidArgument, match="full-text index"):
                search(silent, "page33", mode=mode)  # type: ignore[arg-type]
        assert self.names() == []

    def test_index_that_begins_to_keep_words_is_built_anew(self, index: VectorIndex) -> None:
        self.run(documents(), index=replace(index, full_text=False))
        assert self.run(documents()).action == "built"
        assert search(index, "page33", mode="words", k=1)[0].doc == "doc33"

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
