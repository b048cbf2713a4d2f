"""Vector indexes that are never half-made. The value types that a DAG file needs; nothing heavy is imported."""

from airflow_provider_mlops.vector.chunking import (
    MarkdownChunker,
    RecursiveChunker,
    SentenceChunker,
    WholeText,
)
from airflow_provider_mlops.vector.embedders import (
    CallableEmbedder,
    HashEmbedder,
    OnnxEmbedder,
    OpenAIEmbedder,
    PrecomputedVectors,
    WeaviateModule,
)
from airflow_provider_mlops.vector.gate import Gate
from airflow_provider_mlops.vector.settings import BM25, HNSW, Flat, WeaviateSettings
from airflow_provider_mlops.vector.sources import Records, SqlSource
from airflow_provider_mlops.vector.spec import VectorIndex

__all__ = [
    "BM25",
    "HNSW",
    "CallableEmbedder",
    "Flat",
    "Gate",
    "HashEmbedder",
    "MarkdownChunker",
    "OnnxEmbedder",
    "OpenAIEmbedder",
    "PrecomputedVectors",
    "Records",
    "RecursiveChunker",
    "SentenceChunker",
    "SqlSource",
    "VectorIndex",
    "WeaviateModule",
    "WeaviateSettings",
    "WholeText",
]
