"""LanceDB passes the contract of a vector store."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import ConnectionIncomplete, InvalidArgument, StorageUnwritable
from airflow_provider_mlops.vector.filters import parse
from airflow_provider_mlops.vector.stores import lance_lease, lance_rules
from airflow_provider_mlops.vector.stores import open_store as open_any
from airflow_provider_mlops.vector.stores.base import LEASE_SECONDS, Store
from tests.unit.vector.store_contract import LAYOUT, V1, OpenStore, StoreContract, row

pytest.importorskip("lancedb")


def no_connection(conn_id: str) -> ConnectionInfo:
    raise AssertionError(f"nobody asked for {conn_id}")


class TestLance(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        def opened(index: str) -> AbstractContextManager[Store]:
            return open_any("lancedb", index, conn_id=None, uri=str(tmp_path), connections=no_connection)

        return opened


def test_service_without_this_package_reads_the_live_tag_with_lancedb_alone(tmp_path: Path) -> None:
    import lancedb

    with open_any("lancedb", "Docs", conn_id=None, uri=tmp_path.as_uri(), connections=no_connection) as store:
        build = store.begin(V1, LAYOUT, None)
        build.upsert([row(1), row(2)])
        build.seal()
        store.activate(V1)
        store.begin("v2_aaaaaaaa", LAYOUT, V1).upsert([row(3)])
    for tag in ("live", V1):
        table = lancedb.connect(str(tmp_path)).open_table("Docs")
        table.checkout(tag)
        query = table.search(row(2).vector).distance_type("cosine").select(["doc", "text", "_distance"])
        assert [hit["doc"] for hit in query.limit(5).to_list()] == ["doc2", "doc1"]


def test_location_and_storage_options_come_from_the_connection(tmp_path: Path) -> None:
    info = ConnectionInfo("lake", host=str(tmp_path), extra={"storage_options": '{"region": "eu"}'})
    with open_any("lancedb", "Docs", conn_id="lake", uri=None, connections=lambda name: info) as store:
        store.begin(V1, LAYOUT, None)
    assert (tmp_path / "Docs.lance").is_dir()


@pytest.mark.parametrize(
    ("info", "error"),
    [
        (ConnectionInfo("lake"), ConnectionIncomplete),
        (ConnectionInfo("lake", host="/x", extra={"storage_options": "{broken"}), ConnectionIncomplete),
    ],
)
def test_incomplete_connection_is_named(info: ConnectionInfo, error: type[Exception]) -> None:
    with (
        pytest.raises(error, match="lake"),
        open_any("lancedb", "Docs", conn_id="lake", uri=None, connections=lambda name: info),
    ):
        pass


def test_neither_location_nor_connection() -> None:
    with (
        pytest.raises(InvalidArgument, match="no LanceDB location"),
        open_any("lancedb", "Docs", conn_id=None, uri=None, connections=no_connection),
    ):
        pass


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(StorageUnwritable, match="Docs"),
        open_any(
            "lancedb", "Docs", conn_id=None, uri=str(tmp_path / "file" / "x"), connections=no_connection
        ) as store,
    ):
        store.begin(V1, LAYOUT, None)


def test_lease_that_is_kept_for_long_is_written_seldom_but_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lancedb

    def commits() -> int:
        return int(lancedb.connect(str(tmp_path)).open_table("Docs_lease").version)

    with (
        open_any("lancedb", "Docs", conn_id=None, uri=str(tmp_path), connections=no_connection) as store,
        store.lease("run-a") as lease,
    ):
        before = commits()
        for _ in range(20):
            lease.renew()
        assert commits() == before
        later = time.time() + LEASE_SECONDS / 2
        monkeypatch.setattr(lance_lease.time, "time", lambda: later)
        lease.renew()
        assert commits() == before + 1
        lease.renew()
        assert commits() == before + 1


@pytest.mark.parametrize("few", [True, False])
def test_filtered_search_finds_what_lies_in_cells_that_an_approximate_index_would_not_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    from lancedb.index import IvfFlat

    if not few:
        monkeypatch.setattr(lance_rules, "ROWS_TO_INDEX", 2)
    with open_any("lancedb", "Docs", conn_id=None, uri=str(tmp_path), connections=no_connection) as store:
        build = store.begin(V1, LAYOUT, None)
        rows = [row(number) for number in range(6000)]
        rare = rows[::500]
        marked = [each._replace(properties={"topic": "rare"}) for each in rare]
        build.upsert([each for number, each in enumerate(rows) if number % 500] + marked, lacking=True)
        build.flush()
        table = build._table  # type: ignore[attr-defined]
        table.create_index("vector", config=IvfFlat(distance_type="cosine", num_partitions=100))
        where = parse({"topic": "rare"}, LAYOUT.properties, "Docs")
        answers = build.search(np.stack([each.vector for each in rows[:20]]), 12, where=where)
        assert [{hit.doc for hit in hits} for hits in answers] == [{each.doc for each in rare}] * 20
        best = build.search(rare[5].vector[None, :], 1, where=where)
        assert best[0][0].doc == rare[5].doc
