"""Text to vector, the same for indexing (called from the DAG) and for serving (called in the Bento).

Hashed words and character 4-grams: no vocabulary, no download, the same on every machine.
"""

from __future__ import annotations

from functools import cache
from typing import Any

DIMENSIONS = 384


@cache
def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(n_features=DIMENSIONS, ngram_range=(1, 1))
    characters = HashingVectorizer(n_features=DIMENSIONS, analyzer="char_wb", ngram_range=(4, 4))
    return words, characters


def embed(texts: list[str]) -> Any:
    """One unit vector per text, as a float32 array of shape ``(len(texts), DIMENSIONS)``."""
    import numpy

    words, characters = (part.transform(texts).toarray() for part in _vectorizer())
    vectors = (words + characters).astype(numpy.float32)
    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
