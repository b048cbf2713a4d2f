"""A real model, all-MiniLM-L6-v2 with int8 weights: vectors as its authors describe them, and an index that finds by meaning."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import Gate, OnnxEmbedder, VectorIndex
from tests.servers.minilm import MiniLM

pytestmark = pytest.mark.server("minilm")

TEXTS = [
    "A man is eating food.",
    "The girl is carrying a baby.",
    "A monkey is playing drums.",
    "Two men pushed carts through the woods.",
    "A cheetah chases its prey on across a field. " * 40,
    "Überfluß",
    "",
]


def by_hand(text: str, max_tokens: int) -> np.ndarray:
    """One text at a time, with nothing to pad: the plain average of all hidden states."""
    import onnxruntime
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(MiniLM.folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cls, *inner, sep = tokenizer.encode(text).ids
    ids = np.array([[cls, *inner[: max_tokens - 2], sep]])
    session = onnxruntime.InferenceSession(str(MiniLM.folder() / "model.onnx"))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    mean = session.run(None, feed)[0][0].mean(axis=0)
    vector: np.ndarray = mean / np.linalg.norm(mean)
    return vector


def test_vectors_are_those_of_the_model() -> None:
    embedder = OnnxEmbedder(str(MiniLM.folder()), max_tokens=64, batch_size=4)
    vectors = embedder.embed(TEXTS)
    assert embedder.dimension == 384
    expected = np.stack([by_hand(text, 64) for text in TEXTS])
    # int8 arithmetic depends a little on the shape of the batch.
    assert (vectors * expected).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=5e-3)


def test_an_index_finds_what_is_meant_without_a_common_word(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(json.dumps({"id": text[:12], "text": text}) + "\n" for text in TEXTS[:4]))
    golden = tmp_path / "golden.jsonl"
    queries = {
        "Somebody has lunch": TEXTS[0],
        "An infant in the arms of a child": TEXTS[1],
        "An ape makes music": TEXTS[2],
        "Wheelbarrows among trees": TEXTS[3],
    }
    golden.write_text(
        "".join(
            json.dumps({"query": query, "expected": [text[:12]]}) + "\n" for query, text in queries.items()
        )
    )
    context = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}
    payload = VectorIndexOperator(
        task_id="t",
        index=VectorIndex("Docs", embedder=OnnxEmbedder(str(MiniLM.folder())), uri=str(tmp_path / "lance")),
        source=str(documents),
        gate=Gate(str(golden), min_recall=1.0, k=1),
    ).execute(context)
    assert (payload["embedded"], payload["active"]) == (4, True)
