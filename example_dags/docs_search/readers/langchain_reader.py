"""LangChain retrievers over a finished index, in LanceDB or Weaviate. They follow what is live, and write nothing.

Besides LangChain and the store's client they need this package's embedders alone, no Airflow:
``pip install --no-deps airflow-provider-mlops``, and numpy.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever

from airflow_provider_mlops.vector import VectorIndex


class IndexEmbeddings(Embeddings):
    """The index's own embedder: only its vectors compare with those in the index."""

    def __init__(self, index: VectorIndex) -> None:
        self._embedder = index.embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed(texts, "passage").tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._embedder.embed([text], "query")[0].tolist()


class LanceRetriever(BaseRetriever):
    """A retriever of our own: LangChain's LanceDB stores read the newest state of a table, which may be half a
    build, and take properties only from a column named ``metadata``."""

    # Both are no models of pydantic.
    database: Any
    index: Any
    k: int = 5

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        table = self.database.open_table(self.index.name)
        table.checkout("live")
        vector = self.index.embedder.embed([query], "query")[0]
        search = table.search(vector).distance_type(self.index.metric)
        rows = (
            search.select(["id", "doc", "text", *self.index.properties, "_distance"]).limit(self.k).to_list()
        )
        return [Document(id=row.pop("id"), page_content=row.pop("text"), metadata=row) for row in rows]


def lance_retriever(uri: str, index: VectorIndex, k: int = 5) -> BaseRetriever:
    import lancedb

    return LanceRetriever(database=lancedb.connect(uri), index=index, k=k)


def weaviate_retriever(client: Any, index: VectorIndex, k: int = 5) -> BaseRetriever:
    from langchain_weaviate import WeaviateVectorStore

    # Where there is no such name, LangChain would make a collection of it, and no index could take the name any more.
    if not client.alias.exists(alias_name=index.name):
        raise LookupError(f"Index {index.name!r} was never built")
    store = WeaviateVectorStore(
        client, index.name, "text", IndexEmbeddings(index), attributes=["doc", *index.properties]
    )
    # alpha 1 is by vector alone, 0 by words alone, in between both.
    return store.as_retriever(search_kwargs={"k": k, "alpha": 1.0})
