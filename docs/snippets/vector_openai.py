from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import MarkdownChunker, OpenAIEmbedder, VectorIndex

HANDBOOK = VectorIndex(
    "Handbook",
    key="path",
    embedder=OpenAIEmbedder(
        "text-embedding-3-small",
        dimension=512,
        shorten=True,
        price_per_1k_tokens=0.00002,
    ),
    chunker=MarkdownChunker(max_size=400, tokenizer="embedder"),
    properties={"chunk_headings": "text", "chunk_start": "int"},
)

index = VectorIndexOperator(
    task_id="index",
    index=HANDBOOK,
    source="s3://handbook/**/*.md",
    embedding_cache="/var/cache/airflow/embeddings.sqlite",
    max_cost=2.0,
)
