"""Hybrid search: two ranked lists become one. Pure decisions, the same for every store.

The lists are merged by rank and not by score. Distances and BM25 scores have no common scale, BM25 scores of two
stores differ for the same text (they cut and weigh words differently), and one outlier would squeeze all others
together. By rank, equal lists give equal answers, whoever made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from airflow_provider_mlops.vector.stores.base import Hit

#: Hits that each side contributes at least. So many do not change with the ``k`` that is asked for, and the best five
#: are the first five of the best ten.
DEPTH = 100
#: How little the first ranks stand out; the constant of the method's authors.
_RANK_OFFSET = 60


def fuse(by_vector: Sequence[Hit], by_words: Sequence[Hit], k: int, alpha: float) -> list[Hit]:
    """The ``k`` best of both lists, by weighted reciprocal ranks.

    A hit's score is ``alpha / (60 + rank by vector) + (1 - alpha) / (60 + rank by words)``; a list that lacks it adds
    nothing. A list with weight 0 is left out.

    :param by_vector: each with its distance.
    :param by_words: each with its score.
    :param alpha: weight of the vectors, 0 to 1.
    :returns: best first, each with that score, and with its distance if it was among the nearest.
    """
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    # Equal ones come in whatever order a store likes; by id the order is the same everywhere.
    nearest = sorted(by_vector, key=lambda hit: (_given(hit.distance), hit.id))
    best = sorted(by_words, key=lambda hit: (-_given(hit.score), hit.id))
    for weight, ranked in ((alpha, nearest), (1 - alpha, best)):
        if weight:
            for rank, hit in enumerate(ranked, start=1):
                hits.setdefault(hit.id, hit)
                scores[hit.id] = scores.get(hit.id, 0.0) + weight / (_RANK_OFFSET + rank)
    order = sorted(scores, key=lambda chunk: (-scores[chunk], chunk))
    return [replace(hits[chunk], score=scores[chunk]) for chunk in order[:k]]


def _given(figure: float | None) -> float:
    assert figure is not None, "a hit without what it was ranked by"
    return figure
