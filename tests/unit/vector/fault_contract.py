"""Faults that do not depend on the store: the source, the embedder, and two runs at once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import SourceEmpty
from airflow_provider_mlops.vector import Gate, HashEmbedder, Records, VectorIndex
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import (
    IndexBusy,
    SourceChanged,
    SourceUnreadable,
    TooManyBadRecords,
    TooManyDeletes,
    VectorInvalid,
)
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.indexing import Outcome, RunOptions, run
from airflow_provider_mlops.vector.sources import Source, SourceRecord
from airflow_provider_mlops.vector.sources.files import Files, find_files
from airflow_provider_mlops.vector.stores import lance_lease, open_store, weaviate_registry
from tests.unit.vector.fault_cases import OPTIONS, Case, Way

COUNT = 40
GATE = (Gate("golden.jsonl", min_recall=0.5), [GoldenQuery("page29 of the log", frozenset(["doc29"]))])


def documents(changed: bool) -> list[dict[str, Any]]:
    docs = [{"id": f"doc{n}", "text": f"page{n} of the log"} for n in range(COUNT)]
    if changed:
        docs = docs[3:] + [{"id": f"new{n}", "text": f"leaf{n} of the tree"} for n in range(4)]
        for doc in docs[:12]:
            doc["text"] = f"rewritten {doc['id']}"
    return docs


def wanted(changed: bool) -> dict[str, str]:
    return {doc["id"]: doc["text"] for doc in documents(changed)}


class Breaking(HashEmbedder):
    """Does something when it is asked for the second (or another) time, instead of or before embedding."""

    def __init__(self, deed: Callable[[], Any], *, at: int = 2) -> None:
        super().__init__(64)
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "deed", deed)
        object.__setattr__(self, "calls", 0)

    def embed(self, texts: Any, kind: Any = "passage") -> np.ndarray:
        object.__setattr__(self, "calls", self.calls + 1)
        vectors = super().embed(texts, kind)
        if self.calls == self.at:
            spoiled = self.deed()
            if spoiled is not None:
                vectors[0] = spoiled
        return vectors


# --- sources -----------------------------------------------------------------------------------------


def _files(folder: Path) -> Files:
    return Files(find_files(str(folder / "*"), Path))


def _lines(docs: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(doc).encode() + b"\n" for doc in docs)


def cut_gzip(folder: Path) -> Source:
    whole = gzip.compress(_lines(documents(True)))
    (folder / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    return _files(folder)


def cut_lines(folder: Path) -> Source:
    (folder / "a.jsonl").write_bytes(_lines(documents(True))[:-10])
    return _files(folder)


def cut_parquet(folder: Path) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "a.parquet"
    pq.write_table(pa.Table.from_pylist(documents(True)), path)
    path.write_bytes(path.read_bytes()[:-100])
    return _files(folder)


def fewer_files(folder: Path) -> Source:
    (folder / "a.jsonl").write_bytes(_lines(documents(True)[:20]))
    return _files(folder)


def no_files(folder: Path) -> Source:
    return Records(list)


def vanishing_file(folder: Path) -> Source:
    docs = documents(True)
    (folder / "a.jsonl").write_bytes(_lines(docs[:20]))
    (folder / "b.jsonl").write_bytes(_lines(docs[20:]))
    files = _files(folder)

    class Vanishing:
        """Loses its second file after the first reading."""

        def records(self) -> Iterator[SourceRecord]:
            yield from files.records()
            (folder / "b.jsonl").unlink()

    return Vanishing()


def other_second_reading(folder: Path) -> Source:
    readings = iter([documents(True), documents(True)[:10] + documents(False)[30:]])
    return Records(lambda: next(readings))


def breaks_in_second_reading(folder: Path) -> Source:
    readings = iter([False, True])

    def records() -> Iterator[dict[str, Any]]:
        broken = next(readings)
        for number, doc in enumerate(documents(True)):
            if broken and number == 20:
                raise SourceUnreadable("the connection broke")
            yield doc

    return Records(records)


SOURCE_CASES = [
    Case(id="source-cut-gzip", what="a gzip file is cut off", error=SourceUnreadable, do=cut_gzip),
    Case(
        id="source-cut-lines",
        what="a JSONL file ends within a record",
        error=TooManyBadRecords,
        do=cut_lines,
    ),
    Case(
        id="source-cut-parquet",
        what="a Parquet file is cut off",
        error=SourceUnreadable,
        do=cut_parquet,
    ),
    Case(
        id="source-shorter",
        what="half of the documents are missing (the fuse)",
        error=TooManyDeletes,
        do=fewer_files,
    ),
    Case(id="source-empty", what="the source is empty", error=SourceEmpty, do=no_files),
    Case(
        id="source-file-vanishes",
        what="a file vanishes between the survey and the writing",
        error=SourceUnreadable,
        do=vanishing_file,
    ),
    Case(
        id="source-changes",
        what="the second reading gives other records",
        error=SourceChanged,
        do=other_second_reading,
    ),
    Case(
        id="source-breaks",
        what="the second reading breaks off",
        error=SourceUnreadable,
        do=breaks_in_second_reading,
    ),
]


def _gone() -> None:
    raise ConnectionError("the embedder is gone")


EMBEDDER_CASES = [
    Case(
        id="embedder-raises",
        what="the embedder raises midway",
        error=ConnectionError,
        do=lambda: Breaking(_gone),
    ),
    Case(
        id="embedder-nan",
        what="the embedder gives NaN midway",
        error=VectorInvalid,
        do=lambda: Breaking(lambda: np.nan),
    ),
    Case(
        id="embedder-zero",
        what="the embedder gives a vector of zeros midway",
        error=VectorInvalid,
        do=lambda: Breaking(lambda: 0.0),
    ),
]

RUN_CASES = [
    Case(
        id="runs-other-holder",
        what="another run begins meanwhile: it gets ``IndexBusy``",
        error=None,
        do="other",
    ),
    Case(
        id="runs-same-holder",
        what="a retry of the same task begins meanwhile and takes over",
        error=IndexBusy,
        do="h",
    ),
    Case(
        id="runs-expired-lease",
        what="another run begins meanwhile, and the lease has expired",
        error=IndexBusy,
        do="expired",
    ),
]

ALL_CASES = [*SOURCE_CASES, *EMBEDDER_CASES, *RUN_CASES]


def params(cases: list[Case]) -> list[Any]:
    """Every case, in each of its ways."""
    return [
        pytest.param(case, way, id=f"{case.id}-{way.replace(' ', '_')}")
        for case in cases
        for way in case.ways
    ]


class FaultContract:
    """Subclasses provide ``index`` and ``info`` (the connection, or ``None``)."""

    @pytest.fixture
    def info(self) -> ConnectionInfo | None:
        return None

    @pytest.fixture(autouse=True)
    def _remember(self, index: VectorIndex, info: ConnectionInfo | None) -> None:
        self.index, self.info_ = index, info

    def opened(self) -> Any:
        index, info = self.index, self.info_
        return open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri,
            connections=lambda name: info,  # type: ignore[arg-type,return-value]
        )  # fmt: skip

    def run(
        self, source: Source, way: Way = "in place", *, embedder: Any = None, holder: str = "h"
    ) -> Outcome:
        options = dict(OPTIONS[way])
        if options.pop("gate", False):
            options["gate"] = GATE
        index = replace(self.index, embedder=embedder or self.index.embedder)
        with self.opened() as store:
            return run(
                index, source, store, RowMaker(index.embedder), RunOptions(batch_size=8, **options),
                holder=holder, on_bad=lambda record, problem: None,
            )  # fmt: skip

    def live(self) -> tuple[str, dict[str, str]]:
        with self.opened() as store:
            version = store.live()
            assert version is not None
            snapshot = store.read(version.name)
            ids = [chunk for chunk, _, _ in snapshot.scan()]
            assert len(set(ids)) == len(ids)
            assert snapshot.unfindable(ids) == []
            return version.name, {row.doc: row.text for row in snapshot.rows(ids).values()}

    def completes(self, way: Way) -> None:
        """The next run ends with exactly what is wanted, and leaves nothing to clean up."""
        self.run(Records(lambda: documents(True)), way)
        assert self.live()[1] == wanted(True)
        with self.opened() as store, store.lease("next") as lease:
            assert not lease.unclean

    def holds(self, before: str, way: Way) -> None:
        """What readers see after a run that failed: the old version, or what was there and is wanted still."""
        version, docs = self.live()
        assert version == before
        assert docs.keys() >= wanted(False).keys() & wanted(True).keys()
        if way != "in place":
            assert docs == wanted(False)

    @pytest.mark.parametrize(("case", "way"), params(SOURCE_CASES))
    def test_broken_source(self, case: Case, way: Way, tmp_path_factory: pytest.TempPathFactory) -> None:
        first = self.run(Records(lambda: documents(False))).version.name
        source = case.do(tmp_path_factory.mktemp("source"))
        assert case.error is not None
        with pytest.raises(case.error) as caught:
            self.run(source, way)
        assert type(caught.value) is case.error
        self.holds(first, way)
        if case.error not in (SourceChanged, SourceUnreadable) or case.id.startswith("source-cut"):
            assert self.live()[1] == wanted(False), "it was found before anything was written"
        self.completes(way)

    @pytest.mark.parametrize(("case", "way"), params(EMBEDDER_CASES))
    def test_broken_embedder(self, case: Case, way: Way) -> None:
        first = self.run(Records(lambda: documents(False))).version.name
        assert case.error is not None
        with pytest.raises(case.error):
            self.run(Records(lambda: documents(True)), way, embedder=case.do())
        self.holds(first, way)
        self.completes(way)

    @pytest.mark.parametrize(("case", "way"), params(RUN_CASES))
    def test_two_runs_at_once(self, case: Case, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(Records(lambda: documents(False)))
        others = [*documents(True), {"id": "theirs", "text": "of the other run"}]
        inner: list[Any] = []

        def meanwhile() -> None:
            monkeypatch.undo()
            holder = "h" if case.do == "h" else "somebody"
            try:
                inner.append(self.run(Records(lambda: others), way, holder=holder))
            except IndexBusy as busy:
                inner.append(busy)

        if case.do == "expired":
            for module in (lance_lease, weaviate_registry):
                monkeypatch.setattr(module, "LEASE_SECONDS", -1.0)
        outer = Breaking(meanwhile)
        if case.error is None:
            self.run(Records(lambda: documents(True)), way, embedder=outer)
            assert isinstance(inner[0], IndexBusy)
            assert self.live()[1] == wanted(True)
        else:
            with pytest.raises(case.error):
                self.run(Records(lambda: documents(True)), way, embedder=outer)
            assert isinstance(inner[0], Outcome)
            # What the winner has written and made live stays as it is.
            assert self.live() == (inner[0].version.name, {doc["id"]: doc["text"] for doc in others})
        self.completes(way)
