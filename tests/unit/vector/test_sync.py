"""Writing when answers are lost, objects are refused, or somebody else takes over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.errors import RemoteUnavailable
from airflow_provider_mlops.vector import HashEmbedder
from airflow_provider_mlops.vector import outbox as outbox_module
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import (
    ChunksUnfindable,
    IndexBusy,
    ObjectsRefused,
    WritesUnconfirmed,
)
from airflow_provider_mlops.vector.filters import Condition
from airflow_provider_mlops.vector.ledger import Ledger
from airflow_provider_mlops.vector.outbox import SECONDS_PER_COMMIT, TRIES, Outbox
from airflow_provider_mlops.vector.stores.base import Hit, Row, Version, Written, release_after
from airflow_provider_mlops.vector.sync import write
from airflow_provider_mlops.vector.verify import check_contents, heal, mend

Answer = Callable[[Sequence[Row]], Written]


class Memory:
    """A store in memory that keeps rows even when it says it did not, as real ones do.

    ``hidden`` ids are stored, but not found by their vector until that changes, or they are deleted and written again.
    ``torn`` ones are not found in any way until their vector changes, and cannot be deleted; ``moments`` tells what was
    written together.
    """

    version = Version("v1_aaaaaaaa", "Docs", "building")
    hides_chunks = True

    def __init__(self, *answers: Answer) -> None:
        self.stored: dict[str, Row] = {}
        self.hidden: set[str] = set()
        self.torn: set[str] = set()
        self.moments: list[set[str]] = []
        self.calls: list[int] = []
        self.flushes = 0
        self.closing: list[Row] = []
        self.log: list[str] = []
        self._answers = list(answers)

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        assert not (lacking and self.stored.keys() & {row.id for row in rows})
        self.calls.append(len(rows))
        self.log.append("upsert")
        changed = {row.id for row in rows if not np.array_equal(row.vector, self._vector(row.id))}
        self.hidden -= changed
        self.torn -= changed
        self.stored.update((row.id, row) for row in rows)
        return self._answers.pop(0)(rows) if self._answers else Written()

    def _vector(self, chunk: str) -> np.ndarray | None:
        return self.stored[chunk].vector if chunk in self.stored else None

    def flush(self) -> list[Row]:
        self.flushes += 1
        closing, self.closing = self.closing, []
        return closing

    def abandon(self) -> None:
        self.log.append("abandon")

    def delete(self, ids: Sequence[str]) -> None:
        self.log.append("delete")
        for chunk in set(ids) - self.torn:
            self.stored.pop(chunk, None)
            self.hidden.discard(chunk)

    def scan(self) -> Iterator[tuple[str, str, str]]:
        return ((row.id, row.doc, row.digest) for row in self.stored.values())

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        return {chunk: self.stored[chunk] for chunk in ids if chunk in self.stored}

    def unfindable(self, ids: Sequence[str]) -> list[str]:
        return [chunk for chunk in ids if chunk not in self.stored or chunk in self.hidden]

    def unlisted(self, ids: Sequence[str]) -> list[str]:
        return [chunk for chunk in ids if chunk not in self.stored or chunk in self.torn]

    def written_with(self, ids: Collection[str]) -> Iterator[str]:
        return iter(sorted({chunk for moment in self.moments if moment & {*ids} for chunk in moment}))

    def count(self) -> int:
        return len(self.stored)

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        assert name is None
        found = sorted(self.stored.values(), key=lambda row: float(np.abs(row.vector - vectors[0]).sum()))
        return [[Hit(row.id, row.doc, row.text, {}, 0.0) for row in found if row.id not in self.hidden][:k]]

    def search_words(
        self,
        texts: Sequence[str],
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        raise AssertionError

    def settle(self) -> None:
        """Nothing to wait for."""

    def seal(self) -> None:
        self.log.append("seal")

    def reject(self) -> None:
        self.log.append("reject")


class Held:
    unclean = False

    def __init__(self, renewals: int = 10_000) -> None:
        self._left = renewals

    def renew(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise IndexBusy("taken over")

    def writing(self) -> None:
        self.renew()


def chunks(count: int) -> list[Chunk]:
    return [Chunk(f"id{n:03}", f"doc{n}", 0, "digest", f"text {n}", {}, None) for n in range(count)]


def lost(rows: Sequence[Row]) -> Written:
    return Written(uncertain=[row.id for row in rows])


def half_lost(rows: Sequence[Row]) -> Written:
    return Written(uncertain=[row.id for row in rows[: len(rows) // 2]])


def first_refused(rows: Sequence[Row]) -> Written:
    return Written(refused={rows[0].id: "invalid integer property"})


def apply(
    store: Memory, count: int = 20, *, held: Held | None = None, stale: Sequence[str] = ()
) -> list[float]:
    pauses: list[float] = []
    for chunk in stale:
        store.stored[chunk] = Row(chunk, "old", 0, "old", "old", {}, np.ones(2, np.float32))
    with Ledger() as ledger:
        for chunk_ in chunks(count):
            ledger.add([[chunk_]])
        before = ledger.hold(store.scan())
        ledger.schedule(before)
        claims = ((chunk_, ledger.claim(chunk_)) for chunk_ in chunks(count))
        planned = ((chunk_, lacking) for chunk_, lacking in claims if lacking is not None)
        maker = RowMaker(HashEmbedder(16))
        lease = held or Held()
        outbox = Outbox(store, lease, sleep=pauses.append)
        write(planned, ledger, before, store, maker, outbox, lease, 10)
    assert outbox.smooth is not bool(pauses)
    return pauses


def test_stale_chunks_go_only_after_all_writes() -> None:
    store = Memory()
    assert apply(store, stale=["stale"]) == []
    assert store.log == ["upsert", "upsert", "delete"]
    assert set(store.stored) == {chunk.id for chunk in chunks(20)}


def row(number: int) -> Row:
    return Row(f"id{number}", "d", 0, "x", "text", {}, np.ones(24, np.float32))


def test_what_was_sent_is_confirmed_when_it_is_much_or_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BYTES_PER_COMMIT", 1000)  # ten rows
    now = [0.0]
    store = Memory()
    outbox = Outbox(store, Held(), clock=lambda: now[0])
    for start in range(0, 25, 5):
        outbox.send([row(number) for number in range(start, start + 5)], lacking=True)
    assert (store.calls, store.flushes) == ([5] * 5, 2)
    now[0] += SECONDS_PER_COMMIT
    outbox.send([row(30)], lacking=False)
    assert store.flushes == 2
    now[0] += 1
    outbox.send([row(31)], lacking=True)
    assert store.flushes == 3
    with outbox:
        outbox.send([row(32)], lacking=True)
    assert (store.flushes, store.log[-1]) == (4, "upsert")


@pytest.mark.parametrize(
    ("error", "held", "flushes", "abandoned"),
    [
        (ConnectionError("the embedder is gone"), 10, 1, False),  # what was paid for is kept
        (WritesUnconfirmed("the store is gone"), 10, 0, True),  # and has had its tries
        (IndexBusy("taken over"), 1, 0, True),
        (KeyboardInterrupt(), 10, 0, True),
    ],
)
def test_what_waits_is_confirmed_after_a_failure_if_the_lease_is_still_held(
    error: BaseException, held: int, flushes: int, abandoned: bool
) -> None:
    store = Memory()
    outbox = Outbox(store, Held(held))

    def fail_midway() -> None:
        with outbox:
            outbox.send([row(1)], lacking=True)
            raise error

    with pytest.raises(type(error)):
        fail_midway()
    assert (store.flushes, "abandon" in store.log) == (flushes, abandoned)


def test_what_ends_a_write_is_sent_until_it_is_confirmed() -> None:
    store = Memory(lambda rows: Written(), lost, lost)
    store.closing = [row(2)]
    with Outbox(store, Held(), sleep=lambda seconds: None) as outbox:
        outbox.send([row(1), row(2)], lacking=True)
        assert store.calls == [2]
    assert store.calls == [2, 1, 1, 1]
    assert not outbox.smooth


def test_lost_answers_are_asked_for_again_in_smaller_batches() -> None:
    store = Memory(half_lost, lost)
    pauses = apply(store)
    assert max(store.calls[1:-1]) <= 5
    assert pauses
    assert pauses == sorted(pauses)
    assert len(store.stored) == 20


def test_answers_that_stay_lost_end_the_run_before_anything_is_deleted() -> None:
    store = Memory(*[lost] * 1000)
    with pytest.raises(WritesUnconfirmed, match=f"in {TRIES} tries"):
        apply(store, stale=["stale"])
    assert "stale" in store.stored
    assert "delete" not in store.log


def test_refused_objects_are_counted_removed_and_end_the_run() -> None:
    store = Memory(first_refused)
    with pytest.raises(ObjectsRefused, match=r"1 of 10 objects were refused.*invalid integer") as caught:
        apply(store, stale=["stale"])
    assert caught.value.refused == 1
    assert "stale" in store.stored
    assert "id000" not in store.stored


def test_run_that_lost_its_lease_stops_before_the_next_write() -> None:
    store = Memory()
    with pytest.raises(IndexBusy):
        apply(store, held=Held(1), stale=["stale"])
    assert store.log == ["upsert", "abandon"]
    store = Memory()
    with pytest.raises(IndexBusy):
        apply(store, held=Held(2), stale=["stale"])
    assert (store.log, store.flushes) == (["upsert", "upsert", "abandon"], 0)


def test_hidden_chunks_are_written_anew_as_they_were() -> None:
    store = Memory()
    apply(store)
    before = dict(store.stored)
    store.hidden = {"id003", "id017"}
    assert heal(store, [chunk.id for chunk in chunks(20)], Held()) == 2
    assert store.unfindable([chunk.id for chunk in chunks(20)]) == []
    assert all(np.array_equal(store.stored[chunk].vector, row.vector) for chunk, row in before.items())
    assert heal(store, [chunk.id for chunk in chunks(20)], Held()) == 0


class Crowded(Memory):
    """A graph in which a chunk finds its place only right after those that are nearest to it."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        hidden = set(self.hidden)
        written = super().upsert(rows, lacking=lacking)
        for row in rows:
            near = {hit.id for hit in self.search(row.vector[None], 2)[0]} - {row.id}
            if row.id in hidden and not near <= set(self.fresh[-4:]):
                self.hidden.add(row.id)
        self.fresh += [row.id for row in rows]
        return written


def test_hidden_chunks_that_stay_so_are_written_anew_after_their_neighbours() -> None:
    store = Crowded()
    apply(store)
    before = dict(store.stored)
    store.hidden = {"id003", "id017"}
    ids = [chunk.id for chunk in chunks(20)]
    assert heal(store, ids, Held()) == 2
    assert store.unfindable(ids) == []
    assert store.fresh[-1] in {"id003", "id017"}
    assert all(np.array_equal(store.stored[chunk].vector, row.vector) for chunk, row in before.items())


def test_a_crowded_graph_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = Crowded()
    apply(store)
    store.hidden = {"id003"}
    assert heal(store, [chunk.id for chunk in chunks(20)], Held()) == 1
    assert "1 chunks were found again only after their neighbours" in caplog.text


def test_healing_that_dies_leaves_every_chunk_in_the_store() -> None:
    class Mortal(Memory):
        lives = 10

        def _live(self) -> None:
            self.lives -= 1
            if self.lives < 0:
                raise KeyboardInterrupt

        def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
            self._live()
            return super().upsert(rows, lacking=lacking)

        def delete(self, ids: Sequence[str]) -> None:
            super().delete(ids)
            self._live()

    ids = [chunk.id for chunk in chunks(20)]
    for lives in range(5):
        store = Mortal()
        apply(store)
        store.hidden, store.lives = {"id003"}, lives
        with suppress(KeyboardInterrupt):
            heal(store, ids, Held())
        assert sorted(store.stored) == sorted(ids)
    assert store.unfindable(ids) == []


def test_chunks_that_stay_hidden_or_are_not_stored_are_errors() -> None:
    class Stubborn(Memory):
        def unfindable(self, ids: Sequence[str]) -> list[str]:
            return [chunk for chunk in ids if chunk == "id003"]

    store: Any = Stubborn()
    apply(store)
    with pytest.raises(ChunksUnfindable, match=r"1 chunks .* in 8 rounds"):
        heal(store, ["id003"], Held())
    with pytest.raises(WritesUnconfirmed, match="1 chunks are not stored"):
        heal(Memory(), ["id003"], Held())


def test_what_a_crash_left_half_written_is_written_anew_with_what_was_written_beside_it() -> None:
    store = Memory()
    apply(store)
    before, store.log[:] = dict(store.stored), []
    store.torn, store.moments = {"id003"}, [{"id002", "id003"}, {"id004", "id005"}]
    ids = [chunk.id for chunk in chunks(20)]
    assert mend(store, ids, Held()) == 2
    assert (store.torn, store.calls[-2:]) == (set(), [2, 2])
    assert all(np.array_equal(store.stored[chunk].vector, row.vector) for chunk, row in before.items())
    assert mend(store, ids, Held()) == 0
    assert store.log.count("upsert") == 2


def test_half_written_chunks_of_others_are_left_to_them() -> None:
    store = Memory()
    apply(store)
    store.torn, store.moments = {"id002", "id003"}, [{"id002", "id003"}]
    assert mend(store, ["id003"], Held(), own={"id003"}) == 1
    assert store.torn == {"id002"}


def test_chunks_that_are_not_stored_cannot_be_mended() -> None:
    with pytest.raises(WritesUnconfirmed, match="1 chunks are not stored"):
        mend(Memory(), ["id003"], Held())


def test_contents_are_compared_chunk_by_chunk() -> None:
    store = Memory()
    apply(store)
    with Ledger() as ledger:
        for chunk in chunks(20):
            ledger.add([[chunk]])
        check_contents("v1", ledger.hold(store.scan()))
        store.stored["id000"] = store.stored["id000"]._replace(digest="other")
        store.stored["id001"] = store.stored["id001"]._replace(id="left over")
        with pytest.raises(WritesUnconfirmed, match="1 chunks are missing, 1 stale and 1 left over"):
            check_contents("v1", ledger.hold(store.scan()))


def test_chunk_that_is_there_twice_is_deleted_and_written_once() -> None:
    """Two writers at once can leave that in a store that appends: one that was taken over, but did not notice yet."""

    class Appending(Memory):
        def scan(self) -> Iterator[tuple[str, str, str]]:
            twice = (
                [("id003", "doc3", "digest")] if "id003" in self.stored and "delete" not in self.log else []
            )
            return iter([*super().scan(), *twice])

    store = Appending()
    store.stored.update(
        (chunk.id, Row(chunk.id, chunk.doc, 0, "digest", "", {}, np.ones(2))) for chunk in chunks(20)
    )
    apply(store)
    assert (store.log, store.calls) == (["delete", "upsert"], [1])
    assert len(store.stored) == 20


def test_cause_of_a_failure_stays_told_when_the_lease_cannot_be_given_back() -> None:
    class Gone:
        def release(self, *, clean: bool) -> None:
            raise RemoteUnavailable("connection refused")

    cause = WritesUnconfirmed("the server went away")
    release_after(cause, Gone())
    assert ["connection refused" in note for note in cause.__notes__] == [True]
