"""Asking one version of an index, in any of three ways; readers and the gate ask through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.filters import Condition
from airflow_provider_mlops.vector.fusion import DEPTH, fuse
from airflow_provider_mlops.vector.stores.base import Hit, Snapshot

if TYPE_CHECKING:
    import numpy as np

#: ``vector`` by meaning, ``words`` by BM25, ``hybrid`` by both.
SearchMode = Literal["vector", "words", "hybrid"]
_MODES = ("vector", "words", "hybrid")


def check_mode(subject: str, mode: str, alpha: float, *, keeps_words: bool) -> None:
    """Refuse a way to search that cannot work, before anything is asked.

    :param subject: for the message.
    :param alpha: weight of the vectors in ``hybrid``.
    :param keeps_words: the index has what a search by words needs.
    :raises InvalidArgument: it cannot.
    """
    if mode not in _MODES:
        raise InvalidArgument(
            f"{subject}: unknown search {mode!r}", next_step=f"Use one of {', '.join(_MODES)}."
        )
    if not 0 <= alpha <= 1:
        raise InvalidArgument(f"{subject}: alpha is {alpha}", next_step="Let it lie between 0 and 1.")
    if mode != "vector" and not keeps_words:
        raise InvalidArgument(
            f"{subject}: search {mode!r} needs a full-text index, which it does not keep",
            next_step="Set full_text=True, which builds it anew.",
        )


def ask(
    snapshot: Snapshot,
    mode: SearchMode,
    texts: Sequence[str],
    vectors: np.ndarray | None,
    k: int,
    *,
    alpha: float,
    tenant: str | None = None,
    name: str | None = None,
    where: Sequence[Condition] = (),
) -> list[list[Hit]]:
    """The ``k`` best chunks for each query, best first.

    :param texts: one per query; only their number counts where the vectors are all that is asked with.
    :param vectors: one row per query; ``None`` if the store makes them of the texts. Not used by ``words``.
    :param tenant: whose chunks, where the index has tenants.
    :param name: of the chunks' vectors to compare with, default the main ones.
    :param where: what must hold of every hit.
    """
    depth = max(DEPTH, k) if mode == "hybrid" else k
    if mode == "words":
        return snapshot.search_words(texts, k, tenant=tenant, where=where)
    nearest = (
        snapshot.search_meaning(texts, depth, tenant=tenant, name=name, where=where)
        if vectors is None
        else snapshot.search(vectors, depth, tenant=tenant, name=name, where=where)
    )
    if mode == "vector":
        return nearest
    by_words = snapshot.search_words(texts, depth, tenant=tenant, where=where)
    return [fuse(*pair, k, alpha) for pair in zip(nearest, by_words, strict=True)]
