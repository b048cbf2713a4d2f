"""Releases and rollbacks that are killed at every instant, and then run again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.compat import AIRFLOW_3, AIRFLOW_3_3, ObjectStoragePath
from airflow_provider_mlops.errors import InvalidArgument, PermanentError, StorageUnwritable
from airflow_provider_mlops.release import journal as journal_module
from airflow_provider_mlops.release import lease as lease_module
from airflow_provider_mlops.release import ledger as ledger_module
from airflow_provider_mlops.release.errors import (
    LedgerCorrupt,
    NoPreviousRelease,
    ReleaseBusy,
    ReleaseNotFound,
    ReleaseSuperseded,
)
from airflow_provider_mlops.release.lease import DURATION, lease
from airflow_provider_mlops.release.ledger import ReleaseLedger
from airflow_provider_mlops.release.record import ReleaseRecord
from airflow_provider_mlops.release.rollback import Standing, draft_release, draft_rollback, previous
from airflow_provider_mlops.release.walk import Outcome, walk

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = {"dag_id": "d", "run_id": "r", "task_id": "t"}
LATER = (DURATION + timedelta(minutes=1)).total_seconds()
ONE, TWO, THREE = ({"index": f"v{n}", "image": f"sha256:{n}"} for n in (1, 2, 3))

Tick = Callable[[], None]


def nothing() -> None:
    pass


class World:
    """Production, as files, so that it outlives a killed process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def live(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.iterdir() if path.name != "log"}

    def log(self) -> list[str]:
        file = self.folder / "log"
        return file.read_text().split() if file.exists() else []

    def move(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value)
        with (self.folder / "log").open("a") as log:
            log.write(f"{name}={value}\n")


class FileStep:
    def __init__(self, world: World, name: str, value: str, tick: Tick = nothing) -> None:
        self.world, self.name, self.value, self.tick = world, name, value, tick

    def check(self) -> None:
        if self.value == "missing":
            raise PermanentError(f"{self.name} is not there")

    def apply(self) -> Mapping[str, Any]:
        self.tick()
        if self.value == "refused":
            raise PermanentError(f"{self.name} was refused")
        self.world.move(self.name, self.value)
        self.tick()
        return {"value": self.value}


def steps_of(record: ReleaseRecord, *, world: World, tick: Tick = nothing) -> Sequence[FileStep]:
    return [FileStep(world, name, record.parts[name], tick) for name in ("index", "image")]


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it has written, so these tests need not wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def ledger(tmp_path: Path) -> ReleaseLedger:
    return ReleaseLedger(tmp_path / "releases", "search", "production")


def release(
    ledger: ReleaseLedger,
    world: World,
    parts: Mapping[str, str],
    *,
    key: str,
    later: float = 0,
    tick: Tick = nothing,
) -> Outcome:
    return walk(
        ledger,
        key=key,
        owner=f"task-{key}",
        draft=partial(draft_release, parts=parts, run=RUN, now=NOW),
        steps_of=partial(steps_of, world=world, tick=tick),
        clock=lambda: time.time() + later,
    )


def roll_back(
    ledger: ReleaseLedger,
    world: World,
    *,
    key: str,
    later: float = 0,
    tick: Tick = nothing,
    to: str | None = None,
) -> Outcome:
    def draft(standing: Standing) -> ReleaseRecord:
        target = ledger.record(to) if to else previous(standing, ledger.records())
        return draft_rollback(standing, target, run=RUN, now=NOW)

    return walk(
        ledger,
        key=key,
        owner=f"task-{key}",
        draft=draft,
        steps_of=partial(steps_of, world=world, tick=tick),
        clock=lambda: time.time() + later,
    )


def killed_at(instant: int, run: Callable[[Tick], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run in a process of its own that gets SIGKILL at the given instant; ``False`` if it ended before.

    Instants lie before and after every write of a file and every effect of a step.
    """
    passed = 0

    def tick() -> None:
        nonlocal passed
        if passed == instant:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def ticking(inner: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            tick()
            inner(*args)
            tick()

        return call

    child = os.fork()
    if child == 0:
        status = 1
        try:
            for module in (journal_module, ledger_module, lease_module):
                for name in ("write_json", "remove"):
                    if hasattr(module, name):
                        setattr(module, name, ticking(getattr(module, name)))
            run(tick)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def instants(run: Callable[[int], bool]) -> int:
    """Call ``run`` for every instant until it is not killed any more; return how many there were."""
    for instant in range(200):
        if not run(instant):
            return instant
    raise AssertionError("the run never ends")


def assert_clean(ledger: ReleaseLedger, world: World, parts: Mapping[str, str]) -> None:
    current = ledger.current()
    assert current is not None
    assert world.live() == current.parts == parts
    assert ledger.unfinished() is None
    assert not (ledger.folder / "lease.json").exists()
    assert [path.name for path in ledger.folder.rglob(".*") if path.name != ".lock"] == []


@pytest.mark.parametrize("same_run", [True, False], ids=["its retry", "another run"])
def test_a_release_that_is_killed_anywhere_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_run: bool
) -> None:
    def at(instant: int) -> bool:
        world = World(tmp_path / str(instant) / "world")
        ledger = ReleaseLedger(tmp_path / str(instant) / "releases", "search", "production")
        release(ledger, world, ONE, key="first")
        was_killed = killed_at(
            instant, lambda tick: release(ledger, world, TWO, key="second", tick=tick), monkeypatch
        )
        # A retry takes its own lease over at once; anybody else waits until it runs out.
        done = release(
            ledger, world, TWO, key="second" if same_run else "third", later=0 if same_run else LATER
        )
        assert_clean(ledger, world, TWO)
        assert len(ledger.release_ids()) == 2
        assert done.record.release_id == ledger.release_ids()[0]
        if same_run:
            assert done.action == "release"
        # A step that was done is not done again; only one can have been cut off.
        moves = [line for line in world.log() if line in ("index=v2", "image=sha256:2")]
        assert set(moves) == {"index=v2", "image=sha256:2"}
        assert len(moves) <= 3
        return was_killed

    assert instants(at) > 20


@pytest.mark.parametrize("same_run", [True, False], ids=["its retry", "another run"])
def test_a_rollback_that_is_killed_anywhere_is_completed_and_goes_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_run: bool
) -> None:
    def at(instant: int) -> bool:
        world = World(tmp_path / str(instant) / "world")
        ledger = ReleaseLedger(tmp_path / str(instant) / "releases", "search", "production")
        first = release(ledger, world, ONE, key="first").record.release_id
        release(ledger, world, TWO, key="second")
        was_killed = killed_at(
            instant, lambda tick: roll_back(ledger, world, key="back", tick=tick), monkeypatch
        )
        if same_run:
            done = roll_back(ledger, world, key="back")
            assert done.action == "rollback"
            assert done.record.restores == first
        else:
            roll_back(ledger, world, key="other", later=LATER, to=first)
        assert_clean(ledger, world, ONE)
        assert len(ledger.release_ids()) == 3
        return was_killed

    assert instants(at) > 20


def test_a_release_that_was_killed_anywhere_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(instant: int) -> bool:
        world = World(tmp_path / str(instant) / "world")
        ledger = ReleaseLedger(tmp_path / str(instant) / "releases", "search", "production")
        release(ledger, world, THREE, key="zeroth")
        release(ledger, world, ONE, key="first")
        was_killed = killed_at(
            instant, lambda tick: release(ledger, world, TWO, key="second", tick=tick), monkeypatch
        )
        current = ledger.current()
        begun = ledger.unfinished() is not None or (current is not None and current.parts == TWO)
        assert begun or world.live() == ONE
        roll_back(ledger, world, key="back", later=LATER)
        # Where the release had not begun, "previous" is the one before the first.
        assert_clean(ledger, world, ONE if begun else THREE)
        return was_killed

    assert instants(at) > 20


def test_another_release_replaces_one_that_ended_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(instant: int) -> bool:
        world = World(tmp_path / str(instant) / "world")
        ledger = ReleaseLedger(tmp_path / str(instant) / "releases", "search", "production")
        release(ledger, world, ONE, key="first")
        was_killed = killed_at(
            instant, lambda tick: release(ledger, world, TWO, key="second", tick=tick), monkeypatch
        )
        release(ledger, world, THREE, key="third", later=LATER)
        assert_clean(ledger, world, THREE)
        return was_killed

    instants(at)


def test_what_was_cut_off_does_not_overwrite_what_came_after_it(
    ledger: ReleaseLedger, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(ledger, world, ONE, key="first")
    refused = {**TWO, "image": "refused"}
    with pytest.raises(PermanentError, match="refused"):
        release(ledger, world, refused, key="second")
    release(ledger, world, THREE, key="third")
    with pytest.raises(ReleaseSuperseded):
        release(ledger, world, refused, key="second")
    assert_clean(ledger, world, THREE)


def test_the_same_parts_change_nothing(ledger: ReleaseLedger, world: World) -> None:
    first = release(ledger, world, ONE, key="first")
    log = world.log()
    again = release(ledger, world, ONE, key="second")
    assert again == Outcome(first.record, "unchanged")
    assert world.log() == log
    assert len(ledger.release_ids()) == 1


def test_after_a_half_way_release_even_the_current_parts_are_put_live_again(
    ledger: ReleaseLedger, world: World
) -> None:
    release(ledger, world, ONE, key="first")
    with pytest.raises(PermanentError, match="refused"):
        release(ledger, world, {**TWO, "image": "refused"}, key="second")
    assert world.live()["index"] == "v2"
    assert release(ledger, world, ONE, key="third").action == "release"
    assert_clean(ledger, world, ONE)


def test_all_steps_are_checked_before_the_first_moves(ledger: ReleaseLedger, world: World) -> None:
    release(ledger, world, ONE, key="first")
    with pytest.raises(PermanentError, match="image is not there"):
        release(ledger, world, {**TWO, "image": "missing"}, key="second")
    assert_clean(ledger, world, ONE)


def test_rollbacks_lead_back_and_forth_and_to_any_release(ledger: ReleaseLedger, world: World) -> None:
    ids = [
        release(ledger, world, parts, key=str(n)).record.release_id
        for n, parts in enumerate((ONE, TWO, THREE))
    ]
    assert roll_back(ledger, world, key="a").record.parts == TWO
    assert roll_back(ledger, world, key="b").record.parts == THREE
    done = roll_back(ledger, world, key="c", to=ids[0])
    assert (done.record.parts, done.record.restores) == (ONE, ids[0])
    assert roll_back(ledger, world, key="d", to=ids[0]).action == "unchanged"
    assert_clean(ledger, world, ONE)
    assert sorted(ledger.release_ids()) == [record.release_id for record in reversed(list(ledger.records()))]
    assert len(ledger.release_ids()) == 6


def test_a_rollback_without_a_target_moves_nothing(ledger: ReleaseLedger, world: World) -> None:
    with pytest.raises(NoPreviousRelease):
        roll_back(ledger, world, key="a")
    release(ledger, world, ONE, key="first")
    with pytest.raises(NoPreviousRelease):
        roll_back(ledger, world, key="b")
    for unknown in ("20200101-000000-00000000", "../current", ""):
        with pytest.raises(ReleaseNotFound):
            ledger.record(unknown)
    assert_clean(ledger, world, ONE)


def test_two_runs_at_once_do_not_mix(ledger: ReleaseLedger, world: World) -> None:
    other: list[BaseException] = []

    def meanwhile() -> None:
        if not other:
            try:
                release(ledger, world, THREE, key="third")
            except ReleaseBusy as error:
                other.append(error)

    release(ledger, world, TWO, key="second", tick=meanwhile)
    assert len(other) == 1
    assert other[0].delay > timedelta(minutes=9)  # type: ignore[attr-defined]
    assert_clean(ledger, world, TWO)


def test_a_run_that_was_taken_over_stops_before_its_next_step(ledger: ReleaseLedger, world: World) -> None:
    taken = []

    def meanwhile() -> None:
        if not taken:
            taken.append(True)
            release(ledger, world, THREE, key="third", later=LATER)

    with pytest.raises(ReleaseBusy, match="taken over"):
        release(ledger, world, TWO, key="second", tick=meanwhile)
    assert "image=sha256:2" not in world.log()
    current = ledger.current()
    assert current is not None
    assert current.parts == THREE


def _take(folder: Path, owner: str, barrier: Any, results: Any) -> None:
    barrier.wait()
    try:
        with lease(folder, owner):
            results.put(owner)
            time.sleep(1.5)
    except ReleaseBusy:
        results.put("busy")


def test_of_many_that_start_at_once_one_gets_the_lease(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    runs = [context.Process(target=_take, args=(tmp_path, f"task-{n}", barrier, results)) for n in range(4)]
    for run in runs:
        run.start()
    found = [results.get(timeout=30) for _ in runs]
    for run in runs:
        run.join(30)
    assert found.count("busy") == 3


def test_a_ledger_in_an_object_store(world: World) -> None:
    if not AIRFLOW_3_3:
        # Before 3.3 Airflow knows a scheme only once a provider, or this, has brought it.
        import fsspec

        if AIRFLOW_3:
            from airflow.sdk.io import attach
        else:
            from airflow.io.store import attach

        attach("memory", fs=fsspec.filesystem("memory"))
    root = ObjectStoragePath(f"memory://releases-{os.getpid()}-{id(world)}")
    ledger = ReleaseLedger(root, "search", "production")
    assert ledger.current() is None
    release(ledger, world, ONE, key="first")
    with pytest.raises(PermanentError, match="refused"):
        release(ledger, world, {**TWO, "image": "refused"}, key="second")
    release(ledger, world, TWO, key="third")
    roll_back(ledger, world, key="back")
    current = ledger.current()
    assert current is not None
    assert world.live() == current.parts == ONE
    assert len(ledger.release_ids()) == 3
    assert ledger.unfinished() is None
    assert ledger.record_uri(current.release_id).startswith("memory://")


@pytest.mark.parametrize("file", ["current.json", "open.json", "journal/first.json", "records"])
def test_a_damaged_file_is_named_and_moves_nothing(ledger: ReleaseLedger, world: World, file: str) -> None:
    first = release(ledger, world, ONE, key="first").record.release_id
    (ledger.folder / (f"records/{first}.json" if file == "records" else file)).write_text('{"x": ')
    log = world.log()
    with pytest.raises(LedgerCorrupt, match=file.partition("/")[0]):
        release(ledger, world, TWO, key="first" if "journal" in file else "second")
    assert world.log() == log


def test_a_folder_that_cannot_be_written_is_found_before_anything_moves(tmp_path: Path, world: World) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageUnwritable):
        release(ReleaseLedger(tmp_path / "file", "search", "production"), world, ONE, key="first")
    assert world.live() == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument):
        ReleaseLedger(tmp_path, name, "production")
    with pytest.raises(InvalidArgument):
        ReleaseLedger(tmp_path, "search", name)
