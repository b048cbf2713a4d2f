"""From a training task to a healthy, reversible release. Copy this file as a template.

It needs the connections ``gitlab_default`` and ``oci_registry_default``, and ``[mlops] artifacts``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_provider_mlops.operators import (
    BentoBuildOperator,
    GitlabTriggerOperator,
    ImageTagOperator,
    ReleaseOperator,
    VectorIndexOperator,
)
from airflow_provider_mlops.vector import CallableEmbedder, Gate, VectorIndex
from docs_search.runtime import REQUIREMENTS

SERVICE = "docs-search"
# Written once: the index is built with the function that the service calls.
EMBEDDER = CallableEmbedder("docs_search.service.embedding:embed", dimension=384)
DOCS = VectorIndex("Docs", key="id", text="text", embedder=EMBEDDER, backend="lancedb")
MIN_ACCURACY = 0.75


@task
def collect() -> dict:
    from airflow_provider_mlops.config import artifacts_path
    from docs_search import corpus

    return corpus.write(artifacts_path("corpus"))


@task
def train(corpus: dict, features: str) -> dict:
    from airflow.sdk.exceptions import AirflowFailException

    from airflow_provider_mlops.config import artifacts_path
    from docs_search import training

    source = ObjectStoragePath(corpus["uri"])
    model = training.train(source, corpus["digest"], features, artifacts_path("models"))
    if model["accuracy"] < MIN_ACCURACY:
        raise AirflowFailException(f"Accuracy {model['accuracy']} is below {MIN_ACCURACY}")
    return model


@dag(
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=2), "execution_timeout": timedelta(hours=2)},
    params={"features": Param("words", enum=["words", "words+chars"])},
    tags=["mlops"],
)
def release_pipeline():
    corpus = collect()
    model = train(corpus, "{{ params.features }}")
    bento = BentoBuildOperator(
        task_id="build",
        context="docs_search/service",
        models={"classifier": model["uri"]},
        requirements=REQUIREMENTS,
    )
    publish = GitlabTriggerOperator(
        task_id="publish", project="ml/docs-search", ref="main",
        inputs={
            "bento": bento.output["uri"],
            "repository": "{{ conn.oci_registry_default.host }}/" + SERVICE,
        },
        outputs={"image": "publish:image.json"}, key_input="airflow_key",
    )  # fmt: skip
    image = ImageTagOperator(task_id="tag", image=publish.output["image"])
    index = VectorIndexOperator(
        task_id="index", index=DOCS, source=corpus["uri"],
        gate=Gate(corpus["golden"], min_recall=0.80, k=5), activate=False,
    )  # fmt: skip
    ReleaseOperator(
        task_id="release",
        service=SERVICE,
        channel="production",
        parts={"model": model, "bento": bento.output, "image": image.output, "index": index.output},
    )


release_pipeline()
