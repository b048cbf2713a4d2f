"""Ways of writing objects into Weaviate, each of them one process: ours, the client's own, the official operators'."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _report import measured
from _vectors import CORPORA, DIMENSION, chunk_id

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "build" / "benchmarks" / "peers"
PROVIDER = "apache-airflow-providers-weaviate==3.5.1"
BATCH = 2000
COLLECTION = "Bench"
#: Settings of :func:`official`, by what each is called in the report.
OFFICIAL = {
    "official": "list",
    "official, from a frame": "frame",
    "official, by document": "documents",
}
MODES = ("insert_many", "fixed_size", "dynamic", "stream")


@contextmanager
def real_server() -> Iterator[dict[str, int] | None]:
    """The tests' Weaviate: its ports, or nothing if it is not built."""
    sys.path.insert(0, str(ROOT))
    from tests.servers.weaviate import Weaviate

    if reason := Weaviate.missing():
        print(f"No Weaviate ({reason}): its figures are left out", file=sys.stderr)
        yield None
        return
    with Weaviate() as server:
        yield {"http": server.ports["http"], "grpc": server.ports["grpc"]}


def fresh_collection(ports: dict[str, int], kind: str, corpus: str) -> None:
    """An empty collection, with the settings of our indexes.

    :param kind: of vector index, ``hnsw`` or ``flat``.
    """
    from airflow_provider_mlops.vector.settings import HNSW, Flat, WeaviateSettings
    from airflow_provider_mlops.vector.stores.base import Layout
    from airflow_provider_mlops.vector.stores.weaviate_layout import collection_settings

    with client(**ports) as connected:
        connected.collections.delete(COLLECTION)
        chosen = WeaviateSettings(vector_index=Flat() if kind == "flat" else HNSW())
        layout = Layout(DIMENSION, "cosine", CORPORA[corpus].properties, False, weaviate=chosen)
        connected.collections.create(COLLECTION, **collection_settings(layout))


def client(http: int, grpc: int) -> Any:
    """A client of the server with these ports."""
    import weaviate

    return weaviate.connect_to_local(port=http, grpc_port=grpc)


def ours(http: int, grpc: int, count: int, corpus: str) -> dict[str, float]:
    """Our store's write path, in the batches of a run."""
    from airflow_provider_mlops.vector.stores.base import Version, Written
    from airflow_provider_mlops.vector.stores.weaviate import WeaviateBuild
    from airflow_provider_mlops.vector.stores.weaviate_registry import Registry

    with client(http, grpc) as connected:
        build = WeaviateBuild(
            connected, Registry(connected, COLLECTION), Version("v1_00000000", COLLECTION, "building")
        )
        rows = CORPORA[corpus].rows(0, count)
        build.upsert(rows[:1])
        with measured() as result:
            for start in range(0, count, BATCH):
                written = build.upsert(rows[start : start + BATCH])
                assert written == Written(), written
    return result


def mode(http: int, grpc: int, count: int, corpus: str, name: str) -> dict[str, float]:
    """One of the client's own ways."""
    from weaviate.classes.data import DataObject

    chosen = CORPORA[corpus]
    objects = [(chosen.plain(n), vector) for n, vector in enumerate(chosen.vectors(count))]
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


def official(http: int, grpc: int, count: int, corpus: str, form: str) -> dict[str, float]:
    """The official provider's operators, from the moment on that Airflow has given them their input.

    :param form: ``list`` or ``frame``, what ``WeaviateIngestOperator`` gets; or ``documents``: the operator that keeps
        documents by a key, as an index needs it, which makes a frame of what it gets.
    """
    os.environ["AIRFLOW_CONN_WEAVIATE_DEFAULT"] = airflow_connection(http, grpc)
    import airflow.providers

    airflow.providers.__path__.append(str(PEERS / "airflow" / "providers"))
    sys.path.append(str(PEERS))
    import pandas
    from airflow.providers.weaviate.operators.weaviate import (
        WeaviateDocumentIngestOperator,
        WeaviateIngestOperator,
    )

    chosen = CORPORA[corpus]
    data: Any = [
        {**chosen.plain(n), "uuid": chunk_id(n), "vector": vector.tolist()}
        for n, vector in enumerate(chosen.vectors(count))
    ]
    if form != "list":
        data = pandas.DataFrame(data)
    settings = {
        "task_id": "t", "conn_id": "weaviate_default", "collection_name": COLLECTION, "input_data": data,
        "vector_col": "vector", "uuid_column": "uuid",
    }  # fmt: skip
    if form == "documents":
        operator = WeaviateDocumentIngestOperator(document_column="doc", existing="replace", **settings)
    else:
        operator = WeaviateIngestOperator(**settings)
    with measured() as result:
        operator.execute({})
    return result


def whole_run(http: int, grpc: int, folder: str) -> dict[str, float]:
    """All of our operator: survey, writes, comparison, every chunk looked up by its vector, activation."""
    from types import SimpleNamespace

    from airflow_provider_mlops.operators import VectorIndexOperator
    from airflow_provider_mlops.vector import PrecomputedVectors, VectorIndex

    os.environ["AIRFLOW_CONN_WEAVIATE_DEFAULT"] = airflow_connection(http, grpc)
    index = VectorIndex(
        "Whole",
        embedder=PrecomputedVectors(DIMENSION),
        properties=CORPORA["usual"].properties,
        backend="weaviate",
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

    chosen = CORPORA["usual"]
    with client(http, grpc) as connected:
        build = WeaviateBuild(
            connected, Registry(connected, COLLECTION), Version("v1_00000000", COLLECTION, "building")
        )
        chosen.rows(0, BATCH)
        with measured() as result:
            for start in range(0, count, BATCH):
                build.upsert(chosen.rows(start, BATCH))
    return result


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


def airflow_connection(http: int, grpc: int) -> str:
    """The server as a connection of Airflow, which the official provider and ours both understand."""
    return json.dumps(
        {"conn_type": "weaviate", "host": "127.0.0.1", "port": http,
         "extra": {"grpc_host": "127.0.0.1", "grpc_port": grpc}}
    )  # fmt: skip
