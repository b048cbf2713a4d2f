from airflow_provider_mlops.vector import BM25, HNSW, HashEmbedder, VectorIndex, WeaviateSettings

DOCS = VectorIndex(
    "Docs",
    backend="weaviate",
    embedder=HashEmbedder(256),
    properties={"title": "text", "section": "keyword"},
    # Documents belong to customers; a search sees those of one.
    tenant="customer",
    # Besides the vector of its text, a chunk has one of its document's title.
    vectors={"title": "title"},
    weaviate=WeaviateSettings(
        HNSW(ef_construction=256, max_connections=32, quantization="rq8"),
        BM25(k1=1.2, b=0.6),
        replicas=3,
    ),
)
