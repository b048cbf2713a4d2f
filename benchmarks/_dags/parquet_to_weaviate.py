"""DAGs of benchmarks/vector_tasks.py: from Parquet files into Weaviate, with our operator and with the official ones."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import airflow.providers
from airflow.sdk import DAG, task

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import PrecomputedVectors, VectorIndex

sys.path.insert(0, str(Path(__file__).parent.parent))
from _vectors import CORPORA, DIMENSION
from _weaviate_ways import COLLECTION, PEERS

airflow.providers.__path__.append(str(PEERS / "airflow" / "providers"))
sys.path.append(str(PEERS))

SOURCE = os.environ["BENCHMARK_SOURCE"]
SETTINGS = {"schedule": None, "start_date": datetime(2026, 1, 1), "catchup": False}


@task
def read(form: str) -> Any:
    """The source as the official operators take it."""
    import pandas

    frame = pandas.concat([pandas.read_parquet(file) for file in sorted(Path(SOURCE).glob("*.parquet"))])
    frame = frame.rename(columns={"id": "doc"})
    if form == "frame":
        return frame
    frame["vector"] = [vector.tolist() for vector in frame["vector"]]
    return frame.to_dict("records")


with DAG("ours", **SETTINGS):
    VectorIndexOperator(
        task_id="write",
        index=VectorIndex(
            "Whole",
            embedder=PrecomputedVectors(DIMENSION),
            properties=CORPORA[os.environ["BENCHMARK_CORPUS"]].properties,
            backend="weaviate",
        ),
        source=f"{SOURCE}/*.parquet",
        mode="rebuild",
    )

if (PEERS / "airflow" / "providers" / "weaviate").is_dir():
    from airflow.providers.weaviate.operators.weaviate import (
        WeaviateDocumentIngestOperator,
        WeaviateIngestOperator,
    )

    given = {
        "task_id": "write",
        "conn_id": "weaviate_default",
        "collection_name": COLLECTION,
        "vector_col": "vector",
    }

    with DAG("list", **SETTINGS):
        WeaviateIngestOperator(input_data=read("list"), **given)

    with DAG("frame", **SETTINGS):
        WeaviateIngestOperator(input_data=read("frame"), **given)

    with DAG("documents", **SETTINGS):
        WeaviateDocumentIngestOperator(
            input_data=read("frame"), document_column="doc", existing="replace", **given
        )
