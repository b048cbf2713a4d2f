"""The service: ``/predict``, ``/search`` and ``/about``.

What belongs to a release and not to the Bento (which index version to read, the release's name) comes
from the environment, so that a rollback of one part needs no new image.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
from embedding import embed


@bentoml.service(name="docs_search")
class DocsSearch:
    classifier = bentoml.models.BentoModel("classifier:latest")

    def __init__(self) -> None:
        # Here and not above: only the worker that answers needs it, the server's main process does not.
        import joblib

        self._model = joblib.load(Path(self.classifier.path) / "classifier.joblib")
        self._table = None
        if uri := os.environ.get("INDEX_URI"):
            import lancedb

            self._table = lancedb.connect(uri).open_table(os.environ["INDEX_TABLE"])
            self._table.checkout(os.environ["INDEX_VERSION"])

    @bentoml.api
    def predict(self, text: str) -> str:
        """Name of the standard library module that the text belongs to."""
        return str(self._model.predict([text])[0])

    @bentoml.api
    def search(self, query: str, limit: int = 5) -> list[dict]:
        """The nearest texts, best first."""
        if self._table is None:
            return []
        rows = (
            self._table.search(embed([query])[0]).distance_type("cosine").limit(limit)
            .select(["doc", "text", "_distance"]).to_list()
        )  # fmt: skip
        return [
            {"id": row["doc"], "text": row["text"], "score": round(1 - row["_distance"], 3)} for row in rows
        ]

    @bentoml.api
    def about(self) -> dict:
        """Which release this is."""
        return {
            "release": os.environ.get("RELEASE_ID"),
            "classifier": str(self.classifier.tag),
            "index": os.environ.get("INDEX_VERSION"),
        }
