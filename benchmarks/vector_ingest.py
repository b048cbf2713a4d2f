"""What writing vectors costs: beside the official Weaviate operators, the client's own modes, and bare Arrow.

    python benchmarks/vector_ingest.py [--objects 20000] [--stream 1000000] [--runs 2] [--json FILE]

Every way of writing gets the same objects (384 dimensions; unit vectors in clusters, as embeddings are) in a process
of its own, and the best of the runs counts.

* against a server that takes everything and does nothing: what the client itself costs;
* against a real Weaviate, if the tests' server is there (``make servers``), into a graph (HNSW), which the server is
  busy with, and into a flat index, where it waits for the client; with the CPU time that the server itself needs for
  an object, which bounds every client on the same machine. Into the graph twice: objects as they are usual (five
  properties, texts of 285 characters), and those that cost it least (tight clusters, four properties, 57 characters);
* LanceDB, beside a bare ``table.add`` of Arrow batches in one stream: made of the same rows as it goes, and ready made;
* a million rows streamed from Parquet into LanceDB, and to the server that does nothing: the memory they take.

The official provider has two operators. One writes what it gets, a list or a frame; the other keeps documents by a key,
as an index needs it. What Airflow does to bring them their input (XCom, template fields) is not measured. The provider is
installed into ``build/benchmarks/peers``, without its dependencies.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from _report import Figure, arguments, child, finish, in_child, measured
from _vectors import CORPORA, DIMENSION
from _weaviate_ways import (
    BATCH,
    MODES,
    OFFICIAL,
    fresh_collection,
    installed_provider,
    mode,
    null_stream,
    official,
    ours,
    real_server,
    whole_run,
)

USUAL = CORPORA["usual"]

# --- LanceDB ---------------------------------------------------------------------------------------


class Unheld:
    """The lease of an index that nobody else writes."""

    unclean = False

    def writing(self) -> None:
        pass

    def renew(self) -> None:
        pass


def lance_ours(folder: str, count: int) -> dict[str, float]:
    from airflow_provider_mlops.vector.outbox import Outbox
    from airflow_provider_mlops.vector.stores.base import Layout
    from airflow_provider_mlops.vector.stores.lance import open_lance

    store = open_lance("Ours", uri=folder, connection=None)
    rows = USUAL.rows(0, count)
    build = store.begin("v1_00000000", Layout(DIMENSION, "cosine", USUAL.properties, False), None)
    outbox = Outbox(build, Unheld())
    with measured() as result, outbox:
        for start in range(0, count, BATCH):
            outbox.send(rows[start : start + BATCH], lacking=True)
    return result


def lance_bare(folder: str, count: int) -> dict[str, float]:
    """A bare Arrow write of the same rows."""
    return lance_add(folder, count, ready=False)


def lance_ready(folder: str, count: int) -> dict[str, float]:
    """The same, of Arrow batches that are there before the clock starts."""
    return lance_add(folder, count, ready=True)


def lance_add(folder: str, count: int, ready: bool) -> dict[str, float]:
    import lancedb
    import pyarrow as pa

    from airflow_provider_mlops.vector.stores.base import Layout
    from airflow_provider_mlops.vector.stores.lance_rows import arrow_batch, arrow_schema

    schema = arrow_schema(Layout(DIMENSION, "cosine", USUAL.properties, False), "00000000")
    rows = USUAL.rows(0, count)
    made = (arrow_batch(rows[start : start + BATCH], schema) for start in range(0, count, BATCH))
    batches = iter(list(made)) if ready else made
    table = lancedb.connect(folder).create_table("Bare", schema=schema)
    with measured() as result:
        table.add(pa.RecordBatchReader.from_batches(schema, batches))
    return result


def lance_stream(folder: str, source: str, indexed: bool) -> dict[str, float]:
    """A whole run, from Parquet into LanceDB.

    :param indexed: with the approximate index that so many vectors get; LanceDB holds all of them to build it.
    """
    from airflow_provider_mlops.vector import PrecomputedVectors, VectorIndex
    from airflow_provider_mlops.vector.embedding import RowMaker
    from airflow_provider_mlops.vector.indexing import RunOptions, run
    from airflow_provider_mlops.vector.sources import Files, find_files
    from airflow_provider_mlops.vector.stores import lance_rules
    from airflow_provider_mlops.vector.stores.lance import open_lance

    if not indexed:
        lance_rules.ROWS_TO_INDEX = sys.maxsize
    index = VectorIndex(
        "Stream", embedder=PrecomputedVectors(DIMENSION), properties=USUAL.properties, uri=folder
    )
    store = open_lance("Stream", uri=folder, connection=None)

    def once(pattern: str) -> None:
        files = Files(find_files(pattern, Path), columns=index.fields)
        run(
            index, files, store, RowMaker(index.embedder), RunOptions(mode="rebuild"), holder="h", on_bad=print
        )  # fmt: skip

    once(f"{source}/part-0000.parquet")  # everything is imported and warm
    with measured() as result:
        once(f"{source}/*.parquet")
    return result


# --- the parent ------------------------------------------------------------------------------------


@contextmanager
def null_server() -> Iterator[dict[str, int]]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "_null_weaviate.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def server_cpu() -> float:
    """Seconds of CPU time that the real server has used so far."""
    import psutil

    times = [
        process.cpu_times()
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith("weaviate")
    ]
    return sum(used.user + used.system for used in times)


def best(results: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure: noise only adds."""
    return {name: min(result[name] for result in results) for name in results[0]}


def weaviate_figures(
    ports: dict[str, int], count: int, runs: int, ways: Sequence[str], corpus: str, kind: str = ""
) -> dict[str, dict[str, float]]:
    """Every way of writing, taking turns.

    :param kind: of vector index, where the server is a real one.
    """
    results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(runs):
        # In another order each time, so that a machine that is slow for a while is not one way's bad luck.
        for way in random.Random(number).sample(ways, len(ways)):
            if kind:
                fresh_collection(ports, kind, corpus)
            before = server_cpu()
            task, told = task_of(way)
            result = in_child(task, {**ports, **told, "count": count, "corpus": corpus})
            results[way].append({**result, "server": server_cpu() - before} if kind else result)
    return {way: best(found) for way, found in results.items()}


def task_of(way: str) -> tuple[str, dict[str, str]]:
    """The child's task that writes in some way, and what it is told beside the usual."""
    if way in MODES:
        return "mode", {"name": way}
    return ("official", {"form": OFFICIAL[way]}) if way in OFFICIAL else (way, {})


def ratios(where: str, found: dict[str, dict[str, float]], count: int) -> list[Figure]:
    """Figures of one server."""
    figures = []
    for way, result in found.items():
        figures.append(Figure(f"{where}: {way}", count / result["wall"], "objects/s"))
        figures.append(Figure(f"{where}: {way}, client CPU", result["cpu"] / count * 1e6, "us/object"))
        if "server" in result:
            figures.append(Figure(f"{where}: {way}, server CPU", result["server"] / count * 1e6, "us/object"))
    return figures


def report(count: int, stream: int, runs: int, only: str) -> list[Figure]:
    figures: list[Figure] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["AIRFLOW_HOME"] = str(scratch / "airflow")
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "false"
        if only in ("", "null"):
            figures += null_figures(stack, count, stream, runs)
        if only in ("", "real"):
            figures += real_figures(stack, count, runs, scratch)
        if only in ("", "lance"):
            figures += lance_figures(scratch, count, stream, runs)
    return figures


def null_figures(stack: ExitStack, count: int, stream: int, runs: int) -> list[Figure]:
    provider = installed_provider()
    ports = stack.enter_context(null_server())
    ways = ["ours", *(["official"] if provider else []), "insert_many", "fixed_size", "dynamic"]
    found = weaviate_figures(ports, count, runs, ways, "usual")
    figures = ratios("null server", found, count)
    ours_, modes = found["ours"], [found[name] for name in MODES if name in found]
    if provider:
        figures += [
            Figure("client CPU per object, of the official operator's", ours_["cpu"] / found["official"]["cpu"], "x", "<= 0.05"),
            Figure("client-side ceiling, of the official operator's", found["official"]["wall"] / ours_["wall"], "x", ">= 10"),
        ]  # fmt: skip
    figures += [
        Figure("client CPU per object, of the client's best mode", ours_["cpu"] / min(m["cpu"] for m in modes), "x", "<= 0.25"),
        Figure("client-side ceiling, of insert_many's", found["insert_many"]["wall"] / ours_["wall"], "x", ">= 3"),
    ]  # fmt: skip
    streamed = in_child("null_stream", {**ports, "count": stream})
    figures.append(Figure(f"memory growth, {stream:,} objects written", streamed["memory"], "MB", "<= 150"))
    return figures


def real_figures(stack: ExitStack, count: int, runs: int, scratch: Path) -> list[Figure]:
    provider = installed_provider()
    ports = stack.enter_context(real_server())
    if ports is None:
        return []
    peers = [*(OFFICIAL if provider else ()), *MODES]
    figures = []
    for kind, corpus in (("hnsw", "tight"), ("hnsw", "usual"), ("flat", "usual")):
        found = weaviate_figures(ports, count, runs, ["ours", *peers], corpus, kind)
        label, ours_ = f"Weaviate, {kind}, {corpus}", found["ours"]
        figures += ratios(label, found, count)
        fastest = min(found[name]["wall"] for name in MODES)
        figures.append(
            Figure(f"{label}: speed, of the client's best mode", fastest / ours_["wall"], "x", ">= 1.0")
        )
        goal = ">= 3" if corpus == "tight" else ""
        figures += [
            Figure(f"{label}: speed, of {name}", found[name]["wall"] / ours_["wall"], "x", goal)
            for name in OFFICIAL
            if name in found
        ]
        figures += bounds(label, found, ours_["wall"])
    source = scratch / "source"
    source.mkdir()
    USUAL.write_parquet(source, count)
    whole = in_child("whole_run", {**ports, "folder": str(source)})
    figures.append(
        Figure("Weaviate, hnsw, usual: whole VectorIndexOperator", count / whole["wall"], "objects/s")
    )
    return figures


def bounds(label: str, found: dict[str, dict[str, float]], wall: float) -> list[Figure]:
    """What a client that needs no CPU time could reach, with every core busy for the server that it shares them with.

    :param wall: seconds that ours took.
    """
    shortest = min(result["server"] for result in found.values()) / (os.cpu_count() or 1)
    figures = [Figure(f"{label}: speed, of what all cores could do", shortest / wall, "x")]
    if "official" in found:
        most = found["official"]["wall"] / shortest
        figures.append(Figure(f"{label}: what all cores could do, of official", most, "x"))
    return figures


def lance_figures(scratch: Path, count: int, stream: int, runs: int) -> list[Figure]:
    found: dict[str, list[dict[str, float]]] = {"lance_ours": [], "lance_bare": [], "lance_ready": []}
    # A run of more rows than elsewhere: this is over in a second.
    many = max(count, 100_000)
    for number in range(runs * 2):
        for way in found if number % 2 == 0 else reversed(found):
            found[way].append(in_child(way, {"folder": str(scratch / f"{way}{number}"), "count": many}))
            shutil.rmtree(scratch / f"{way}{number}")
    results = {way: best(each) for way, each in found.items()}
    figures = [
        Figure(f"LanceDB: {way.removeprefix('lance_')}", many / result["wall"], "rows/s")
        for way, result in results.items()
    ]
    figures += [
        Figure(
            f"LanceDB: time, of {what}", results["lance_ours"]["wall"] / results[way]["wall"], "x", "<= 1.3"
        )
        for way, what in (
            ("lance_bare", "a bare Arrow write's of the same rows"),
            ("lance_ready", "one's of ready batches"),
        )
    ]
    source = scratch / "stream"
    source.mkdir()
    USUAL.write_parquet(source, stream)
    streamed, indexed = (
        in_child(
            "lance_stream", {"folder": str(scratch / f"lance-{way}"), "source": str(source), "indexed": way}
        )
        for way in (False, True)
    )
    figures += [
        Figure(f"LanceDB: whole run of {stream:,} rows from Parquet", stream / streamed["wall"], "rows/s"),
        Figure(f"LanceDB: memory growth, {stream:,} rows streamed", streamed["memory"], "MB", "<= 150"),
        Figure("LanceDB: memory growth with the vector index", indexed["memory"], "MB"),
    ]
    return figures


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    task.__name__: task
    for task in (
        ours,
        mode,
        official,
        whole_run,
        null_stream,
        lance_ours,
        lance_bare,
        lance_ready,
        lance_stream,
    )
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--objects", type=int, default=20_000, help="objects per way (default: 20000)")
    parser.add_argument("--stream", type=int, default=1_000_000, help="rows streamed (default: 1000000)")
    parser.add_argument("--runs", type=int, default=2, help="runs of each way (default: 2)")
    parser.add_argument("--only", choices=["null", "real", "lance"], default="", help="one part of it")
    args = parser.parse_args()
    if args.child:
        child(TASKS, args.child)
        return
    finish("vector_ingest", report(args.objects, args.stream, args.runs, args.only), args.json)


if __name__ == "__main__":
    main()
