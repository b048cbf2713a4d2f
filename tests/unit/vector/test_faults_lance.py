"""LanceDB: broken sources, embedders and neighbours, disks that are full, files that are damaged."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.vector import HashEmbedder, Records, VectorIndex, outbox
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.indexing import RunOptions, run
from airflow_provider_mlops.vector.stores import lance
from airflow_provider_mlops.vector.stores.base import Row, Written
from tests.unit.vector.fault_cases import Case, Way
from tests.unit.vector.fault_contract import Breaking, FaultContract, documents, params, wanted
from tests.unit.vector.lance_faults import DAMAGE_CASES, WRITE_CASES

pytest.importorskip("lancedb")


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow over 2,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which can be filled and made read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class TestFaultsOnLance(FaultContract):
    @pytest.fixture
    def index(self, tmp_path: Path, request: pytest.FixtureRequest) -> VectorIndex:
        case = getattr(request.node, "callspec", None)
        own_disk = case is not None and case.params["case"].id in ("lance-disk-full", "lance-read-only")
        uri = request.getfixturevalue("disk") if own_disk else tmp_path
        return VectorIndex("Docs", embedder=HashEmbedder(64), uri=str(uri))

    def table_files(self, folder: str) -> list[Path]:
        return sorted(Path(str(self.index.uri), "Docs.lance", folder).iterdir())

    @pytest.mark.parametrize(("case", "way"), params(WRITE_CASES))
    def test_broken_write(self, case: Case, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        first = self.run(Records(lambda: documents(False))).version.name
        # Or else the deed is done while the first commit is still being streamed.
        monkeypatch.setattr(outbox, "BYTES_PER_COMMIT", 0)
        disk, filler = Path(str(self.index.uri)), Path(str(self.index.uri), "filler")
        embedder: Any = None
        upsert, flush = lance.LanceBuild.upsert, lance.LanceBuild.flush

        def into_small_files(build: Any, rows: Sequence[Row], *, lacking: bool = False) -> Written:
            with small_files():
                return upsert(build, rows, lacking=lacking)

        def flush_into_small_files(build: Any) -> Sequence[Row]:
            with small_files():
                return flush(build)

        def fill() -> None:
            with filler.open("wb", buffering=0) as stream:
                try:
                    while stream.write(os.urandom(4096)) == 4096:
                        pass
                except OSError:
                    return

        def table() -> Any:
            import lancedb

            return lancedb.connect(str(disk)).open_table("Docs")

        def start_anew() -> None:
            import lancedb

            lancedb.connect(str(disk)).create_table("Docs", schema=table().schema, mode="overwrite")

        def lock() -> None:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        def delete() -> None:
            table().delete("doc = 'doc20'")
            table().delete("doc = 'new1'")

        if case.id == "lance-quota":
            monkeypatch.setattr(lance.LanceBuild, "upsert", into_small_files)
            monkeypatch.setattr(lance.LanceBuild, "flush", flush_into_small_files)
        else:
            deeds = {
                "lance-disk-full": fill,
                "lance-read-only": lock,
                "lance-conflict": start_anew,
                "lance-write-lost": delete,
            }
            # In a sync, doc20 comes from the earlier version; in a rebuild it is among the first that are written.
            embedder = Breaking(deeds[case.id], at=4 if way == "rebuild" else 2)
        assert case.error is not None
        with pytest.raises(case.error) as caught:
            self.run(Records(lambda: documents(True)), way, embedder=embedder)
        assert type(caught.value) is case.error

        monkeypatch.undo()
        if case.id == "lance-read-only":
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        filler.unlink(missing_ok=True)
        self.holds(first, way)
        self.completes(way)

    @pytest.mark.parametrize(("case", "way"), params(DAMAGE_CASES))
    def test_damaged_table(self, case: Case, way: Way) -> None:
        self.run(Records(lambda: documents(False)))
        if case.id == "lance-manifest-cut":
            for path in self.table_files("_versions"):
                os.truncate(path, path.stat().st_size // 2)
        for path in self.table_files("data") if case.id != "lance-manifest-cut" else []:
            if case.id == "lance-file-removed":
                path.unlink()
            else:
                os.truncate(path, path.stat().st_size // 2)
        assert case.error is not None
        with pytest.raises(case.error, match="Docs"):
            self.run(Records(lambda: documents(True)), way)
        # The way out that the error names.
        if case.id == "lance-manifest-cut":
            Path(str(self.index.uri), "Docs.lance").rename(Path(str(self.index.uri), "away"))
        self.anew()
        assert self.live()[1] == wanted(True)
        self.completes(way)

    def anew(self) -> None:
        options = RunOptions(mode="rebuild", max_delete_fraction=1.0)
        with self.opened() as store:
            run(
                replace(self.index), Records(lambda: documents(True)), store, RowMaker(self.index.embedder),
                options, holder="h", on_bad=print,
            )  # fmt: skip
