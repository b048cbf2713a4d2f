"""How well an index finds: by vector, by words and by both, on LanceDB and on a real Weaviate; and a gate at work.

    python benchmarks/retrieval_quality.py [--documents N] [--queries 2000] [--embedder hash|minilm] [--json FILE]

The corpus is real: the descriptions of Debian's packages, fetched through apt into ``build/benchmarks`` (without apt the
benchmark says so and ends with code 77). The queries are the one-line synopses of some of them, which are in no indexed
text and which no other package has; the one right answer is the package's own description. ``filtered`` asks within
the package's section. ``of the exact ten`` compares with the distances to all vectors (with the hash embedder only).

The default embedder is the package's ``HashEmbedder``: it counts words and parts of words and knows no meaning, so
its figures tell how stores, fusion and filters behave, and not how good embeddings are. ``--embedder minilm`` is
all-MiniLM-L6-v2 with int8 weights (``python -m tests.servers build minilm``; some 60 documents per second at first, kept in
an embedding cache for later runs).

The second part is the gate, in runs like an operator's on 2,000 documents: a first version, then a worse embedder,
a damaged source and a good update, each with the version that readers see afterwards.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from _debian import FOLDER, documents
from _report import Figure, arguments, finish

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

MODES = ("vector", "words", "hybrid")
K = 10
#: Characters that are left of a damaged text.
DAMAGED_LENGTH = 40
GATE_DOCUMENTS = 2000
#: Queries that are asked with a filter, one at a time, as each has its own.
FILTERED = 300


def embedder_of(name: str) -> Any:
    from airflow_provider_mlops.vector import HashEmbedder, OnnxEmbedder
    from tests.servers.minilm import MiniLM

    if name == "hash":
        return HashEmbedder(384)
    if reason := MiniLM.missing():
        sys.exit(f"No MiniLM: {reason}")
    return OnnxEmbedder(str(MiniLM.folder()))


class Place:
    """One backend: where its indexes are, and how they are built and asked.

    :param cached: keep embeddings between runs of this benchmark.
    """

    def __init__(
        self, backend: str, uri: str | None, connection: dict[str, Any] | None, *, cached: bool
    ) -> None:
        from airflow_provider_mlops.connection import ConnectionInfo

        self.backend, self.uri, self.cached = backend, uri, cached
        self.info = ConnectionInfo("w", **connection) if connection else None

    def index(self, name: str, embedder: Any) -> Any:
        from airflow_provider_mlops.vector import VectorIndex

        return VectorIndex(
            name, embedder=embedder, properties={"section": "keyword"}, backend=self.backend,  # type: ignore[arg-type]
            uri=self.uri, conn_id="w" if self.info else None, full_text=self.backend == "lancedb",
        )  # fmt: skip

    @contextmanager
    def store(self, index: Any) -> Iterator[Any]:
        from airflow_provider_mlops.vector.stores import open_store

        with open_store(
            index.backend, index.name, conn_id=index.conn_id, uri=index.uri, connections=lambda name: self.info
        ) as store:  # type: ignore[arg-type, return-value]  # fmt: skip
            yield store

    def run(self, index: Any, docs: Sequence[dict[str, str]], gate: Any, queries: Sequence[Any]) -> Any:
        """A run like the operator's, with a gate."""
        from airflow_provider_mlops.vector import Records
        from airflow_provider_mlops.vector.cache import EmbeddingCache
        from airflow_provider_mlops.vector.embedding import RowMaker
        from airflow_provider_mlops.vector.indexing import RunOptions, run

        with ExitStack() as stack:
            cache = None
            if self.cached:
                cache = EmbeddingCache(FOLDER / "embeddings.sqlite", index.embedder.identity())
                stack.callback(cache.close)
            store = stack.enter_context(self.store(index))
            return run(
                index, Records(lambda: docs), store, RowMaker(index.embedder, cache),
                RunOptions(gate=(gate, queries)), holder="benchmark", on_bad=print,
            )  # fmt: skip

    def live(self, index: Any) -> str:
        with self.store(index) as store:
            version = store.live()
        return version.name if version else "nothing"


def golden(docs: Sequence[dict[str, str]]) -> list[Any]:
    from airflow_provider_mlops.vector.gate import GoldenQuery

    return [GoldenQuery(document["synopsis"], frozenset([document["id"]])) for document in docs]


def asked(
    place: Place, index: Any, docs: Sequence[dict[str, str]], vectors: Any
) -> dict[str, list[list[str]]]:
    """Keys of the answers to the documents' synopses, for each way to ask."""
    from airflow_provider_mlops.vector.asking import ask
    from airflow_provider_mlops.vector.filters import parse

    texts = [document["synopsis"] for document in docs]
    answers = {}
    with place.store(index) as store:
        snapshot = store.read(store.live().name)
        for mode in MODES:
            began = time.perf_counter()
            found = ask(snapshot, mode, texts, vectors, K, alpha=0.5)  # type: ignore[arg-type]
            answers[mode] = [[hit.doc for hit in hits] for hits in found]
            said = (time.perf_counter() - began) / len(docs) * 1000
            print(f"  {place.backend} {mode}: {said:.1f} ms per query", file=sys.stderr)
        answers["hybrid, filtered"] = within = []
        for number, document in enumerate(docs[:FILTERED]):
            where = parse({"section": document["section"]}, index.properties, index.name)
            one = vectors[number : number + 1]
            (hits,) = ask(snapshot, "hybrid", texts[number : number + 1], one, K, alpha=0.5, where=where)
            assert all(hit.properties["section"] == document["section"] for hit in hits)
            within.append([hit.doc for hit in hits])
    return answers


def quality(label: str, queries: Sequence[Any], answers: Sequence[Sequence[str]]) -> list[Figure]:
    from airflow_provider_mlops.vector import Gate
    from airflow_provider_mlops.vector.gate import judge

    ten = judge(Gate("", min_recall=0, k=K), queries, answers)
    one = judge(Gate("", min_recall=0, k=1), queries, answers)
    return [
        Figure(f"{label}: recall@1", one.recall, ""),
        Figure(f"{label}: recall@10", ten.recall, ""),
        Figure(f"{label}: MRR@10", ten.mrr, ""),
        Figure(f"{label}: nDCG@10", ten.ndcg, ""),
    ]


def exact(docs: Sequence[dict[str, str]], embedder: Any, vectors: Any) -> list[set[str]]:
    """Keys of the documents that are really nearest to each query."""
    import numpy as np

    from airflow_provider_mlops.vector.batches import batches

    nearest: list[list[tuple[float, str]]] = [[] for _ in vectors]
    for some in batches(docs, 5000):
        alike = vectors @ embedder.embed([document["text"] for document in some]).T
        for number, row in enumerate(alike):
            best = np.argsort(row)[-K:]
            found = [*nearest[number], *((float(row[place]), some[place]["id"]) for place in best)]
            nearest[number] = sorted(found, reverse=True)[:K]
    return [{key for _, key in found} for found in nearest]


def agreement(answers: dict[str, dict[str, list[list[str]]]], queries: Sequence[Any]) -> list[Figure]:
    """How far two backends give the same answers."""
    figures = []
    (_, first), (_, second) = answers.items()
    for mode in first:
        shared = [
            len(set(a) & set(b)) / max(len(a), len(b), 1)
            for a, b in zip(first[mode], second[mode], strict=True)
        ]
        top = [a[:1] == b[:1] for a, b in zip(first[mode], second[mode], strict=True)]
        recall = [quality("", queries[: len(top)], found[mode])[1].value for found in (first, second)]
        figures += [
            Figure(f"both, {mode}: share of the ten that is the same", sum(shared) / len(shared), ""),
            Figure(f"both, {mode}: share of equal first answers", sum(top) / len(top), ""),
            Figure(f"both, {mode}: difference in recall@10", abs(recall[0] - recall[1]), ""),
        ]
    return figures


def gate_at_work(place: Place, docs: list[dict[str, str]], embedder: Any) -> list[Figure]:
    """Four candidates; what the gate says, and which version readers see then."""
    from airflow_provider_mlops.vector import Gate, HashEmbedder
    from airflow_provider_mlops.vector.errors import GateRejected

    index = place.index("Gated", embedder)
    chance = random.Random(3)
    queries = golden(docs[-500:])
    gate = Gate("golden.jsonl", min_recall=0.4, k=K, max_regression=0.02, search="vector")
    damaged = [
        {**document, "text": document["text"][:DAMAGED_LENGTH]} if chance.random() < 0.3 else document
        for document in docs
    ]
    added = [{**document, "text": f"{document['text']} Revised."} for document in docs[: len(docs) // 50]]
    good = [*added, *docs[len(added) :]]
    figures = []

    def attempt(name: str, candidate: Any, source: list[dict[str, str]], *, good: bool) -> None:
        before = place.live(index)
        try:
            outcome = place.run(candidate, source, gate, queries)
            report, passed = outcome.gate.to_json(), True
        except GateRejected as error:
            report, passed = error.report, False  # type: ignore[attr-defined]
        live = place.live(index)
        print(
            f"  {place.backend}, {name}: {'live' if passed else 'rejected'} "
            f"({before} -> {live}): {json.dumps(report)}",
            file=sys.stderr,
        )
        as_said = passed == good and (live != before) == good
        figures.extend(
            [
                Figure(f"gate, {place.backend}, {name}: recall@10", report["recall"], ""),
                Figure(f"gate, {place.backend}, {name}: {'went live' if good else 'rejected, live one kept'}",
                       float(as_said), "", ">= 1"),
            ]
        )  # fmt: skip

    attempt("first version", index, docs, good=True)
    attempt("worse embedder", replace(index, embedder=HashEmbedder(16)), docs, good=False)
    attempt("damaged source", index, damaged, good=False)
    attempt("good update", index, good, good=True)
    return figures


def report(count: int | None, asks: int, name: str, backends: Sequence[str]) -> list[Figure]:
    from airflow_provider_mlops.vector import Gate

    docs = documents(count)
    embedder = embedder_of(name)
    # A synopsis that several packages share has several right answers.
    shared = Counter(document["synopsis"] for document in docs)
    single = [document for document in docs if shared[document["synopsis"]] == 1]
    chosen = random.Random(2).sample(single, min(asks, len(single)))
    queries = golden(chosen)
    vectors = embedder.embed([document["synopsis"] for document in chosen], "query")
    print(f"  {len(docs):,} documents, {len(chosen):,} queries, {name} embedder", file=sys.stderr)
    figures = [Figure("documents", len(docs), ""), Figure("queries", len(chosen), "")]
    # A model would take as long for this as for the whole index.
    truth = exact(docs, embedder, vectors) if name == "hash" else None
    answers, gates = {}, []
    with ExitStack() as stack:
        for place in places(stack, backends, cached=name != "hash"):
            index = place.index("Packages", embedder)
            began = time.perf_counter()
            gate = Gate("golden.jsonl", min_recall=0.3, k=K, search="hybrid")
            outcome = place.run(index, docs, gate, queries)
            took = time.perf_counter() - began
            assert outcome.active
            figures.append(Figure(f"{place.backend}: built, judged and live after", took, "s"))
            answers[place.backend] = found = asked(place, index, chosen, vectors)
            for mode, each in found.items():
                seen = quality(f"{name}, {place.backend}, {mode}", queries[: len(each)], each)
                print(f"  {mode}: {[round(figure.value, 4) for figure in seen]}", file=sys.stderr)
                figures += seen
            if truth:
                near = [len(keys & set(hits)) / K for keys, hits in zip(truth, found["vector"], strict=True)]
                figures.append(
                    Figure(f"{name}, {place.backend}, vector: of the exact ten", sum(near) / len(near), "")
                )
            gates += gate_at_work(place, docs[:GATE_DOCUMENTS], embedder)
    if len(answers) == 2:
        figures += agreement(answers, queries)
    return figures + gates


def places(stack: ExitStack, backends: Sequence[str], *, cached: bool) -> Iterator[Place]:
    """The backends that are there."""
    from tests.servers.weaviate import Weaviate

    if "lancedb" in backends:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        yield Place("lancedb", folder, None, cached=cached)
    if "weaviate" in backends:
        if reason := Weaviate.missing():
            print(f"No Weaviate ({reason}): its figures are left out", file=sys.stderr)
            return
        server = stack.enter_context(Weaviate())
        connection = {
            "host": server.host,
            "port": server.ports["http"],
            "extra": {"grpc_port": server.ports["grpc"]},
        }
        yield Place("weaviate", None, connection, cached=cached)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--documents", type=int, help="fewer documents than there are")
    parser.add_argument("--queries", type=int, default=2000, help="queries (default: 2000)")
    parser.add_argument("--embedder", default="hash", choices=["hash", "minilm"])
    parser.add_argument(
        "--backends", nargs="+", default=["lancedb", "weaviate"], choices=["lancedb", "weaviate"]
    )
    args = parser.parse_args()
    figures = report(args.documents, args.queries, args.embedder, args.backends)
    finish("retrieval_quality", figures, args.json)


if __name__ == "__main__":
    main()
