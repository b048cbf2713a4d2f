"""Signed feature hashing of words and character 4-grams: an embedder without a model, deterministic everywhere.

It needs nothing but numpy and this one file: a service that searches a finished index, and does not have
this package, may carry a copy of it.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"\w+")
_GRAM = 4
_GRAM_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class HashEmbedder:
    """Hashes words and character 4-grams into a fixed number of signed dimensions, then normalises.

    It finds texts that share words and word parts; it knows no meaning. Some thousand texts of 400
    characters per CPU second.

    :param dimension: length of the vectors, at least 16.
    """

    dimension: int = 384

    def __post_init__(self) -> None:
        if self.dimension < 16:
            raise ValueError(f"HashEmbedder: dimension {self.dimension} is below 16")

    def identity(self) -> Mapping[str, Any]:
        """The algorithm's name with its own version number, and the dimension."""
        return {"type": "hash", "version": 1, "dimension": self.dimension}

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """Unit vectors of passages or queries, which are treated alike; an empty text gives a vector of zeros."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            counts = Counter(_WORD.findall(text.lower()) or text.split())
            if not counts:
                continue
            parts = [_features(token) for token in counts]
            hashes = np.concatenate([part[0] for part in parts])
            # Repeated words count, but less and less.
            scales = 1.0 + np.log(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))
            weights = np.concatenate([part[1] for part in parts])
            weights *= np.repeat(scales, [len(part[0]) for part in parts])
            sums = np.bincount(hashes % self.dimension, weights=weights, minlength=self.dimension)
            norm = np.linalg.norm(sums)
            if norm > 0:
                vector[:] = sums / norm
            else:
                # Opposite signs cancelled each other out; a zero vector would not be storable.
                vector[zlib.crc32(text.encode()) % self.dimension] = 1.0
        return vectors


@lru_cache(maxsize=50_000)
def _features(token: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and signed weights of a word and its 4-grams; few words make up most of any text, hence the memory."""
    import numpy as np

    padded = f"<{token}>"
    grams = [f"g:{padded[start : start + _GRAM]}" for start in range(len(padded) - _GRAM + 1)]
    hashes = np.array([zlib.crc32(piece.encode()) for piece in (f"w:{token}", *grams)], dtype=np.int64)
    weights = np.array([1.0] + [_GRAM_WEIGHT] * len(grams))
    # The top bit decides the sign, the rest the place.
    return hashes & 0x7FFFFFFF, np.where(hashes >> 31, -weights, weights)
