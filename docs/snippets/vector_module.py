from airflow_provider_mlops.vector import SentenceChunker, VectorIndex, WeaviateModule

NOTES = VectorIndex(
    "Notes",
    backend="weaviate",
    embedder=WeaviateModule("text2vec-transformers"),
    chunker=SentenceChunker(max_size=1000, overlap=150),
)
