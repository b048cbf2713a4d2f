"""A process that searches an index all the time, as services do: with the store's own client and nothing of this package."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import lancedb
import weaviate

from airflow_provider_mlops.vector import HashEmbedder
from tests.campaign.vector.corpus import (
    State,
    Stored,
    common_chunks,
    common_documents,
    unchanged_documents,
)
from tests.campaign.vector.views import Watch, wrong_with

_K = 10
_PAUSE = 0.02
_MOST = 20  # findings that are told


def read(name: str, place: Mapping[str, Any], server: bool, parent: Connection) -> None:
    """Search until told to stop.

    :param place: of LanceDB ``uri``; of Weaviate host and ports.
    :param server: the server dies now and then: errors are no misses, and what a crash hides until the next run
        has looked for it is counted apart.
    :param parent: sends what must be found (:class:`~.views.Watch`), which is answered with ``None``, or ``None``,
        which is answered with figures and findings.
    """
    opened: Any = _Lance(name, place["uri"]) if "uri" in place else _Weaviate(name, place)
    reader = _Reader(opened, server)
    while True:
        while reader.watch is None or parent.poll(0):
            watch = parent.recv()
            if watch is None:
                parent.send((dict(reader.figures), reader.findings))
                return
            reader.take(watch)
            parent.send(None)
        reader.ask()
        time.sleep(_PAUSE)


class _Reader:
    def __init__(self, opened: Any, server: bool) -> None:
        self._opened, self._server = opened, server
        self.watch: Watch | None = None
        self.figures: Counter[str] = Counter()
        self.findings: list[str] = []
        self._chance = random.Random(1)

    def take(self, watch: Watch) -> None:
        self.watch = watch
        self._same = unchanged_documents(watch.states)
        self._there = sorted(common_documents(watch.states))
        self._chunks: dict[str, set[str]] = {}
        for doc, text in common_chunks(watch.states):
            self._chunks.setdefault(doc, set()).add(text)
        self._opened.refresh()

    def ask(self) -> None:
        """One query."""
        kind = self._chance.choice(("vector", "vector", "filter", "words", "all"))
        try:
            if self._chance.random() < 0.3:
                self._opened.refresh()
            problem = getattr(self, f"_{kind}")()
        except Exception as error:  # noqa: BLE001 - whatever a reader meets
            if self._server:
                self.figures["errors"] += 1
                return
            problem = f"{type(error).__name__}: {error}"
        self.figures["queries"] += 1
        self.figures[kind] += 1
        if problem and kind == "vector" and self.watch and self.watch.crashed:
            self.figures["hidden by the crash"] += 1
        elif problem:
            self.figures["misses"] += 1
            if len(self.findings) < _MOST:
                self.findings.append(f"reader ({kind}): {problem}")

    def _vector(self) -> str | None:
        doc = self._chance.choice(self._same)
        state = self._states[0]
        text = self._chance.choice([chunk.text for chunk in state.chunks() if chunk.doc == doc])
        return (
            None if doc in self._opened.near(text) else f"{doc} is not found by the vector of {text[:40]!r}"
        )

    def _words(self) -> str | None:
        doc = self._chance.choice(self._same)
        found = self._opened.words(doc)
        return None if found is None or doc in found else f"{doc} is not found by its own word"

    def _filter(self) -> str | None:
        doc = self._chance.choice(self._there)
        texts = {chunk.text for chunk in self._opened.chunks(doc)}
        if not texts:
            return f"{doc} is not there at all"
        missing = self._chunks.get(doc, set()) - texts
        return f"{doc} lacks {min(missing)[:40]!r}" if missing else None

    def _all(self) -> str | None:
        assert self.watch is not None
        return wrong_with(self._opened.chunks(None), self.watch)

    @property
    def _states(self) -> Sequence[State]:
        assert self.watch is not None
        return self.watch.states


class _Lance:
    def __init__(self, name: str, uri: str) -> None:
        self._database, self._name = lancedb.connect(uri), name
        self.refresh()

    def refresh(self) -> None:
        self._table = self._database.open_table(self._name)
        self._table.checkout("live")

    def near(self, text: str) -> list[str]:
        dimension = self._table.schema.field("vector").type.list_size
        (vector,) = HashEmbedder(dimension).embed([text])
        query = self._table.search(vector).distance_type("cosine").select(["doc", "_distance"]).limit(_K)
        return [row["doc"] for row in query.to_list()]

    def words(self, word: str) -> list[str] | None:
        return None

    def chunks(self, doc: str | None) -> list[Stored]:
        query = self._table.search().select(list(Stored._fields)).limit(10_000)
        rows = (query.where(f"doc = '{doc}'") if doc else query).to_list()
        return [Stored(*(row[name] for name in Stored._fields)) for row in rows]


class _Weaviate:
    def __init__(self, name: str, place: Mapping[str, Any]) -> None:
        self._client = weaviate.connect_to_local(place["host"], place["port"], place["extra"]["grpc_port"])
        self._collection = self._client.collections.use(name)

    def refresh(self) -> None:
        """The alias is looked up by the server, at every query."""

    def near(self, text: str) -> list[str]:
        while True:
            # Of whatever the alias points to now; a query with another length is answered with nonsense.
            dimension = self._dimension()
            (vector,) = HashEmbedder(dimension).embed([text])
            answer = self._collection.query.near_vector(vector.tolist(), limit=_K, return_properties=["doc"])
            if self._dimension() == dimension:
                return [str(item.properties["doc"]) for item in answer.objects]

    def _dimension(self) -> int:
        (item,) = self._collection.query.fetch_objects(limit=1, include_vector=True).objects
        return len(item.vector["default"])

    def words(self, word: str) -> list[str] | None:
        answer = self._collection.query.bm25(
            word, query_properties=["text"], limit=_K, return_properties=["doc"]
        )
        return [str(item.properties["doc"]) for item in answer.objects]

    def chunks(self, doc: str | None) -> list[Stored]:
        from weaviate.classes.query import Filter

        condition = Filter.by_property("doc").equal(doc) if doc else None
        answer = self._collection.query.fetch_objects(
            filters=condition, limit=5_000, return_properties=list(Stored._fields)
        )
        return [Stored(*(item.properties[name] for name in Stored._fields)) for item in answer.objects]
