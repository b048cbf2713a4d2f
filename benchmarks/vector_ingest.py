"""What writing vectors costs: beside the official Weaviate operator, the client's own modes, and bare Arrow.

    python benchmarks/vector_ingest.py [--objects 20000] [--stream 1000000] [--runs 2] [--json FILE]

Every way of writing gets the same objects (384 dimensions, 300 characters of text, five properties; unit
vectors in tight clusters, as embeddings are) in a process of its own, and the best of the runs counts.

* against a server that takes everything and does nothing: what the client itself costs;
* against a real Weaviate, if the tests' server is there (``make servers``), into a graph (HNSW), which the server is
  busy with, and into a flat index, where it waits for the client; with the CPU time that the server itself needs for
  an object, which bounds every client on the same machine;
* LanceDB, beside a bare ``table.add`` of Arrow batches in one stream: made of the same rows as it goes, and ready made;
* a million rows streamed from Parquet into LanceDB, and to the server that does nothing: the memory they take.

The official provider is installed into ``build/benchmarks/peers``, without its dependencies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from _report import Figure, arguments, child, finish, in_child, measured

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "build" / "benchmarks" / "peers"
PROVIDER = "apache-airflow-providers-weaviate==3.5.1"
DIMENSION = 384
BATCH = 2000
TEXT = "A sentence of some thirty characters, written ten times. " * 5
PROPERTIES = {"section": "keyword"}
COLLECTION = "Bench"
MODES = ("insert_many", "fixed_size", "dynamic", "stream")


def vectors(count: int, seed: int = 0) -> Any:
    """Unit vectors in 300 tight clusters with 24 inner dimensions."""
    import numpy as np

    chance = np.random.default_rng(seed)
    shape = np.random.default_rng(1)
    centres, projection = shape.normal(size=(300, 24)), shape.normal(size=(24, DIMENSION))
    inner = centres[chance.integers(0, 300, count)] + 0.25 * chance.normal(size=(count, 24))
    full = (inner @ projection).astype(np.float32)
    return full / np.linalg.norm(full, axis=1, keepdims=True)


def chunk_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def our_rows(first: int, count: int) -> list[Any]:
    from airflow_provider_mlops.vector.stores.base import Row

    return [
        Row(chunk_id(n), f"doc{n}", 0, f"{n:032x}", TEXT, {"section": "guide"}, vector)
        for n, vector in enumerate(vectors(count, first), start=first)
    ]


def properties(number: int) -> dict[str, Any]:
    return {
        "doc": f"doc{number}", "ordinal": 0, "digest": f"{number:032x}", "text": TEXT,
        "section": "guide",
    }  # fmt: skip


# --- Weaviate: each of these is one process ---------------------------------------------------------


def client(http: int, grpc: int) -> Any:
    import weaviate

    return weaviate.connect_to_local(port=http, grpc_port=grpc)


def ours(http: int, grpc: int, count: int) -> dict[str, float]:
    """Our store's write path, in the batches of a run."""
    from airflow_provider_mlops.vector.stores.base import Version, Written
    from airflow_provider_mlops.vector.stores.weaviate import WeaviateBuild
    from airflow_provider_mlops.vector.stores.weaviate_registry import Registry

    with client(http, grpc) as connected:
        build = WeaviateBuild(
            connected, Registry(connected, COLLECTION), Version("v1_00000000", COLLECTION, "building")
        )
        rows = our_rows(0, count)
        build.upsert(rows[:1])
        with measured() as result:
            for start in range(0, count, BATCH):
                written = build.upsert(rows[start : start + BATCH])
                assert written == Written(), written
    return result


def mode(http: int, grpc: int, count: int, name: str) -> dict[str, float]:
    """One of the client's own ways."""
    from weaviate.classes.data import DataObject

    objects = [(properties(n), vector) for n, vector in enumerate(vectors(count))]
    with client(http, grpc) as connected:
        collection = connected.collections.use(COLLECTION)
        if name == "insert_many":
            with measured() as result:
                for start in range(0, count, 500):
                    answer = collection.data.insert_many(
                        [
                            DataObject(values, uuid=chunk_id(n), vector=vector)
                            for n, (values, vector) in enumerate(objects[start : start + 500], start=start)
                        ]
                    )
                    assert not answer.has_errors
            return result
        ways: dict[str, Callable[[], Any]] = {
            "fixed_size": lambda: collection.batch.fixed_size(1000, concurrent_requests=2),
            "dynamic": collection.batch.dynamic,
            "stream": lambda: collection.batch.stream(concurrency=2),
        }
        with measured() as result, ways[name]() as batch:
            for n, (values, vector) in enumerate(objects):
                batch.add_object(values, uuid=chunk_id(n), vector=vector)
        assert not collection.batch.failed_objects
    return result


def official(http: int, grpc: int, count: int) -> dict[str, float]:
    """The official provider's operator; its input is a list of plain dictionaries."""
    os.environ["AIRFLOW_CONN_WEAVIATE_DEFAULT"] = json.dumps(
        {"conn_type": "weaviate", "host": "127.0.0.1", "port": http,
         "extra": {"grpc_host": "127.0.0.1", "grpc_port": grpc}}
    )  # fmt: skip
    import airflow.providers

    airflow.providers.__path__.append(str(PEERS / "airflow" / "providers"))
    from airflow.providers.weaviate.operators.weaviate import WeaviateIngestOperator

    data = [
        {**properties(n), "uuid": chunk_id(n), "vector": vector.tolist()}
        for n, vector in enumerate(vectors(count))
    ]
    operator = WeaviateIngestOperator(
        task_id="t", conn_id="weaviate_default", collection_name=COLLECTION,
        input_data=data, vector_col="vector", uuid_column="uuid",
    )  # fmt: skip
    with measured() as result:
        operator.execute({})
    return result


def whole_run(http: int, grpc: int, folder: str) -> dict[str, float]:
    """All of our operator: survey, writes, comparison, every chunk looked up by its vector, activation."""
    from types import SimpleNamespace

    from airflow_provider_mlops.operators import VectorIndexOperator
    from airflow_provider_mlops.vector import PrecomputedVectors, VectorIndex

    os.environ["AIRFLOW_CONN_WEAVIATE_DEFAULT"] = json.dumps(
        {"conn_type": "weaviate", "host": "127.0.0.1", "port": http, "extra": {"grpc_port": grpc}}
    )
    index = VectorIndex(
        "Whole", embedder=PrecomputedVectors(DIMENSION), properties=PROPERTIES, backend="weaviate"
    )
    operator = VectorIndexOperator(task_id="t", index=index, source=f"{folder}/*.parquet", mode="rebuild")
    instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)
    with measured() as result:
        operator.execute({"ti": instance})  # type: ignore[typeddict-item]
    return result


def null_stream(http: int, grpc: int, count: int) -> dict[str, float]:
    """Rows made as they are sent: the memory that the write path takes."""
    from airflow_provider_mlops.vector.stores.base import Version
    from airflow_provider_mlops.vector.stores.weaviate import WeaviateBuild
    from airflow_provider_mlops.vector.stores.weaviate_registry import Registry

    with client(http, grpc) as connected:
        build = WeaviateBuild(
            connected, Registry(connected, COLLECTION), Version("v1_00000000", COLLECTION, "building")
        )
        our_rows(0, BATCH)
        with measured() as result:
            for start in range(0, count, BATCH):
                build.upsert(our_rows(start, BATCH))
    return result


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
    rows = our_rows(0, count)
    build = store.begin("v1_00000000", Layout(DIMENSION, "cosine", PROPERTIES, False), None)
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

    schema = arrow_schema(Layout(DIMENSION, "cosine", PROPERTIES, False), "00000000")
    rows = our_rows(0, count)
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
    index = VectorIndex("Stream", embedder=PrecomputedVectors(DIMENSION), properties=PROPERTIES, uri=folder)
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


def write_parquet(folder: Path, count: int) -> None:
    """The objects as a source, in files of up to 10,000 rows."""
    import pyarrow as pa
    from pyarrow import parquet

    for part, start in enumerate(range(0, count, 10_000)):
        numbers = range(start, min(start + 10_000, count))
        flat = pa.array(vectors(len(numbers), start).ravel())
        columns = {
            "id": [f"doc{n}" for n in numbers],
            "text": [f"{n} {TEXT}" for n in numbers],
            "section": ["guide"] * len(numbers),
            "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSION),
        }
        parquet.write_table(pa.table(columns), folder / f"part-{part:04}.parquet")


# --- the parent ------------------------------------------------------------------------------------


def installed_provider() -> bool:
    """Whether the official provider could be installed beside us."""
    if (PEERS / "airflow" / "providers" / "weaviate").is_dir():
        return True
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    installer = [uv, "pip"] if Path(uv).exists() else [sys.executable, "-m", "pip"]
    command = [*installer, "install", "--quiet", "--no-deps", "--target", str(PEERS), PROVIDER, "pandas", "python-dateutil", "pytz", "six"]  # fmt: skip
    if installer[0] == uv:
        command[3:3] = ["--python", sys.executable]
    done = subprocess.run(command, check=False)
    if done.returncode:
        print(f"{PROVIDER} cannot be installed: figures beside it are left out", file=sys.stderr)
    return done.returncode == 0


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


@contextmanager
def real_server() -> Iterator[dict[str, int] | None]:
    sys.path.insert(0, str(ROOT))
    from tests.servers.weaviate import Weaviate

    if reason := Weaviate.missing():
        print(f"No Weaviate ({reason}): its figures are left out", file=sys.stderr)
        yield None
        return
    with Weaviate() as server:
        yield {"http": server.ports["http"], "grpc": server.ports["grpc"]}


def fresh_collection(ports: dict[str, int], kind: str) -> None:
    """An empty collection, with the settings of our indexes.

    :param kind: of vector index, ``hnsw`` or ``flat``.
    """
    from airflow_provider_mlops.vector.settings import HNSW, Flat, WeaviateSettings
    from airflow_provider_mlops.vector.stores.base import Layout
    from airflow_provider_mlops.vector.stores.weaviate_layout import collection_settings

    with client(**ports) as connected:
        connected.collections.delete(COLLECTION)
        chosen = WeaviateSettings(vector_index=Flat() if kind == "flat" else HNSW())
        settings = collection_settings(Layout(DIMENSION, "cosine", PROPERTIES, False, weaviate=chosen))
        connected.collections.create(COLLECTION, **settings)


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
    ports: dict[str, int], count: int, runs: int, ways: Sequence[str], kind: str = ""
) -> dict[str, dict[str, float]]:
    """Every way of writing, taking turns.

    :param kind: of vector index, where the server is a real one.
    """
    results: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(runs):
        # The turn order changes, so that a machine that gets slower is not one way's bad luck.
        for way in ways if number % 2 == 0 else reversed(ways):
            if kind:
                fresh_collection(ports, kind)
            settings = {**ports, "count": count}
            before = server_cpu()
            result = in_child("mode", {**settings, "name": way}) if way in MODES else in_child(way, settings)
            results[way].append({**result, "server": server_cpu() - before} if kind else result)
    return {way: best(found) for way, found in results.items()}


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
    found = weaviate_figures(ports, count, runs, ways)
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
    peers = [*(["official"] if provider else []), *MODES]
    figures = []
    for kind in ("hnsw", "flat"):
        found = weaviate_figures(ports, count, runs, ["ours", *peers], kind)
        label, ours_ = f"Weaviate, {kind}", found["ours"]
        figures += ratios(label, found, count)
        fastest = min(found[name]["wall"] for name in MODES)
        figures.append(
            Figure(f"{label}: speed, of the client's best mode", fastest / ours_["wall"], "x", ">= 1.0")
        )
        if provider:
            of_official = found["official"]["wall"] / ours_["wall"]
            figures.append(Figure(f"{label}: speed, of the official operator's", of_official, "x", ">= 3"))
        # Every core busy with nothing but this: more is not to be had from this server on this machine.
        most = (os.cpu_count() or 1) / (ours_["server"] + ours_["cpu"])
        figures.append(Figure(f"{label}: speed, of what all cores could do", 1 / ours_["wall"] / most, "x"))
    source = scratch / "source"
    source.mkdir()
    write_parquet(source, count)
    whole = in_child("whole_run", {**ports, "folder": str(source)})
    figures.append(Figure("Weaviate, hnsw: whole VectorIndexOperator", count / whole["wall"], "objects/s"))
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
    write_parquet(source, stream)
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
