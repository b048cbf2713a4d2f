"""LlamaIndex retrievers over a finished index, in LanceDB or Weaviate. They follow what is live, and write nothing.

Besides LlamaIndex and the store's client they need this package's embedders alone, no Airflow:
``pip install --no-deps airflow-provider-mlops``, and numpy.
"""

from __future__ import annotations

from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from airflow_provider_mlops.vector import VectorIndex


class IndexEmbedding(BaseEmbedding):
    """The index's own embedder: only its vectors compare with those in the index."""

    # Not a model of pydantic.
    index: Any

    def _get_query_embedding(self, query: str) -> list[float]:
        return self.index.embedder.embed([query], "query")[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self.index.embedder.embed([text], "passage")[0].tolist()


class LanceRetriever(BaseRetriever):
    """A retriever of our own: LlamaIndex's LanceDB store cannot read a table without its own column ``metadata``."""

    def __init__(self, database: Any, index: VectorIndex, k: int) -> None:
        super().__init__()
        self._database, self._index, self._k = database, index, k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        table = self._database.open_table(self._index.name)
        table.checkout("live")
        vector = self._index.embedder.embed([query_bundle.query_str], "query")[0]
        search = table.search(vector).distance_type(self._index.metric)
        rows = (
            search.select(["id", "doc", "text", *self._index.properties, "_distance"])
            .limit(self._k)
            .to_list()
        )
        return [
            NodeWithScore(
                # The nearest has the highest score.
                score=-row.pop("_distance"),
                node=TextNode(id_=row.pop("id"), text=row.pop("text"), metadata=row),
            )
            for row in rows
        ]


def lance_retriever(uri: str, index: VectorIndex, k: int = 5) -> BaseRetriever:
    import lancedb

    return LanceRetriever(lancedb.connect(uri), index, k)


def weaviate_retriever(client: Any, index: VectorIndex, k: int = 5) -> BaseRetriever:
    from llama_index.vector_stores.weaviate import WeaviateVectorStore

    # Where there is no such name, LlamaIndex would make a collection of it, and no index could take the name any more.
    if not client.alias.exists(alias_name=index.name):
        raise LookupError(f"Index {index.name!r} was never built")
    store = WeaviateVectorStore(weaviate_client=client, index_name=index.name, text_key="text")
    whole = VectorStoreIndex.from_vector_store(
        store, embed_model=IndexEmbedding(index=index, model_name=index.name)
    )
    return whole.as_retriever(similarity_top_k=k)
