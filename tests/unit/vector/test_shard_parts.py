"""Splitting a source, putting payloads together, connections from the environment, and the stage as a pickle."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.base.hook import connection_info
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, ConnectionMissing, InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder, OpenAIEmbedder, VectorIndex
from airflow_provider_mlops.vector.environment import connection_from_environment
from airflow_provider_mlops.vector.preloaded import gather
from airflow_provider_mlops.vector.shard import Loaded, ShardStage
from airflow_provider_mlops.vector.sources import Files, FoundFile, Records
from airflow_provider_mlops.vector.sources.parts import part_number, part_of, split_by
from tests.unit.vector.indexing_contract import documents

INDEX = VectorIndex("Docs", embedder=HashEmbedder(64), conn_id="lake")
SECRET = "hunter2secret"


def plan(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "vector.shard_plan", "index": "Docs", "fingerprint": INDEX.fingerprint(), "mode": "auto",
        "version": "v1_aaaaaaaa", "base_version": None, "shards": 2, "by": "key", "holder": "h", "token": "t",
        "clean": True, "uri": None, **changes,
    }  # fmt: skip


def shard(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "vector.shard", "index": "Docs", "version": "v1_aaaaaaaa", "mode": "auto", "holder": "h",
        "token": "t", "clean": True, "shard": number, "shards": 2, "chunks": 5, "embedded": 3, "cached": 2,
        "healed": 1, "smooth": True, "tokens": None, "cost": None, **changes,
    }  # fmt: skip


def test_parts_are_the_whole_and_never_change() -> None:
    # Another answer would send documents that are loaded already to another shard.
    assert [part_number(name, 8) for name in ("doc1", "doc2", "s3://b/ä.jsonl")] == [6, 7, 5]
    source = Records(documents)
    parts = [[r.record["id"] for r in part_of(INDEX, source, "key", n, 4).records() if r.record] for n in range(4)]  # fmt: skip
    assert sorted(key for part in parts for key in part) == sorted(doc["id"] for doc in documents())
    assert min(map(len, parts)) > 5


def test_record_without_key_is_in_one_part() -> None:
    source = Records(lambda: [{"text": "no key"}, "no mapping", {"id": "a", "text": "b"}])
    counts = [len(list(part_of(INDEX, source, "key", number, 3).records())) for number in range(3)]
    assert sum(counts) == 3
    assert counts[0] >= 2


def test_files_are_shared_out_only_where_there_are_many(tmp_path: Path) -> None:
    files = Files([FoundFile(tmp_path / f"{number}.jsonl", f"{number}.jsonl") for number in range(24)])
    assert (split_by(files, 3), split_by(files, 4), split_by(Records(documents), 1)) == ("file", "key", "key")
    parts: list[Any] = [part_of(INDEX, files, "file", number, 3) for number in range(3)]
    assert sorted(file.name for part in parts for file in part.files) == sorted(
        file.name for file in files.files
    )


def test_shards_are_believed_only_if_all_of_them_say_that_nothing_happened() -> None:
    whole = gather("Docs", iter([shard(0), shard(1)]))
    assert (whole.preloaded.whole, whole.absent, whole.embedded, whole.tokens) == (True, [], 6, None)
    assert whole.preloaded.vouched("t")
    assert not whole.preloaded.vouched("other")
    assert not whole.preloaded.vouched(None)
    for second in (shard(1, smooth=False), shard(1, clean=False), shard(1, token="u"), shard(0)):
        assert not gather("Docs", [shard(0), second]).preloaded.whole
    alone = gather("Docs", plan())
    assert (alone.preloaded.whole, alone.absent, alone.chunks) == (False, [0, 1], 0)
    assert not gather("Docs", [shard(0, token=None), shard(1, token=None)]).preloaded.vouched(None)


def test_what_shards_spent_is_the_runs() -> None:
    gathered = gather("Docs", [shard(0, tokens=5, cost=0.5), shard(1, tokens=7, cost=0.25)])
    payload = {"embedded": 1, "cached": 0, "healed": 0, "tokens": 1, "cost": 0.25}
    assert gathered.added_to(payload) == {
        "embedded": 7, "cached": 4, "healed": 2, "tokens": 13, "cost": 1.0,
    }  # fmt: skip
    assert gather("Docs", [shard(0)]).added_to({**payload, "tokens": None, "cost": None})["tokens"] is None


def texts(extra: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in extra.items()}


@pytest.mark.parametrize(
    "value",
    [
        '{"conn_type": "weaviate", "host": "h", "port": 8080, "login": "me", "password": "p@:/w", "extra": {"grpc_port": 5}}',
        '{"conn_type": "weaviate", "host": "h", "extra": "{\\"grpc_secure\\": true}"}',
        '{"conn_type": "http", "host": "https://h/v1", "password": "k", "schema": ""}',
        "weaviate://me:p%40%3A%2Fw@h:8080/?grpc_port=5&api_key=k%20k",
        "weaviate://h?__extra__=%7B%22grpc_port%22%3A+5%7D",
        "http://https://h.example/path",
        "lancedb://%2Ftmp%2Flance",
        "postgres://me@h:5432/db%2Fx",
    ],
)
def test_connections_are_read_as_airflow_reads_them(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_1", value)
    mine, airflows = connection_from_environment("Lake_1"), connection_info("Lake_1")
    for name in ("host", "schema", "login", "password", "port"):
        assert getattr(mine, name) == getattr(airflows, name), name
    # In a URI's query, some Airflows take a number for a number and others for a text; what reads it takes both.
    assert texts(mine.extra) == texts(airflows.extra)


@pytest.mark.parametrize("value", [f'{{"password": "{SECRET}"', f'{{"extra": "{SECRET}"}}', SECRET])
def test_malformed_connection_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", value)
    with pytest.raises(ConnectionIncomplete, match="AIRFLOW_CONN_LAKE") as caught:
        connection_from_environment("lake")
    assert SECRET not in str(caught.value)
    monkeypatch.delenv("AIRFLOW_CONN_LAKE")
    with pytest.raises(ConnectionMissing, match="AIRFLOW_CONN_LAKE"):
        connection_from_environment("lake")


def no_connections(conn_id: str) -> ConnectionInfo:
    raise ConnectionMissing(f"no {conn_id}", conn_id=conn_id)


def test_stage_travels_without_secrets_and_looks_connections_up_where_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps({"host": "/nowhere", "password": SECRET}))
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps({"password": SECRET}))
    index = VectorIndex("Docs", embedder=OpenAIEmbedder("m", 64), conn_id="lake")
    stage = ShardStage(index, plan(fingerprint="other"))
    with pytest.raises(InvalidArgument, match="fingerprint"):
        stage.run([])
    packed = pickle.dumps(stage)
    assert SECRET.encode() not in packed
    monkeypatch.delenv("AIRFLOW_CONN_OPENAI_DEFAULT")
    with pytest.raises(ConnectionMissing, match="openai_default"):
        pickle.loads(packed).run([])
    named = ShardStage(index.to_json(), plan(), connections=f"{__name__}:no_connections")
    with pytest.raises(ConnectionMissing, match="no openai_default"):
        named.run([])


def test_stage_with_nothing_to_load_opens_nothing() -> None:
    assert ShardStage(INDEX, plan(token=None)).run([]) == Loaded()


def test_stage_refuses_what_is_wrong() -> None:
    for wrong in ({"connections": "nothing"}, {"batch_size": 0}, {"max_tokens": -1}):
        with pytest.raises(InvalidArgument):
            ShardStage(INDEX, plan(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="VectorShardPlanOperator"):
        ShardStage(INDEX, {"kind": "vector.index"})


def test_stage_needs_neither_airflow_nor_arrow_to_be_imported() -> None:
    code = (
        "import sys; sys.modules['airflow'] = None\n"
        "from airflow_provider_mlops.vector.shard import ShardStage\n"
        "heavy = {'numpy', 'pyarrow', 'lancedb', 'weaviate'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
