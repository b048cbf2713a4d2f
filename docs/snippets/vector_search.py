from airflow.sdk import task

from airflow_provider_mlops.hooks import VectorSearchHook
from airflow_provider_mlops.vector import Gate, VectorIndex

HANDBOOK = VectorIndex(
    "Handbook",
    key="path",
    properties={"section": "keyword", "year": "int", "retired": "bool"},
    full_text=True,
)

# Judged the way it is going to be asked.
GATE = Gate("s3://handbook/golden.jsonl", min_recall=0.85, search="hybrid", alpha=0.4)


@task
def look_up(question: str) -> list[str]:
    hits = VectorSearchHook(HANDBOOK).search(
        question,
        k=10,
        mode="hybrid",
        alpha=0.4,
        filters={
            "section": {"in": ["guide", "reference"]},
            "year": {">=": 2020},
            "retired": None,
        },
    )
    return [hit.doc for hit in hits]
