"""LanceDB: indexes, compaction and cleaning up, once per build."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mlops.vector.stores.lance_rules import (
    MIN_RECALL,
    cleanup_age,
    expired_tags,
    is_tidy,
    needs_vector_index,
)

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

Metric = Literal["cosine", "dot", "l2"]

_SAMPLE = 20
_NEIGHBOURS = 10


def _index_of(table: Any, column: str) -> str | None:
    return next((str(index.name) for index in table.list_indices() if index.columns == [column]), None)


def upkeep(table: Any, *, metric: Metric, full_text: bool) -> None:
    """Bring the head's indexes up to date, merge its small files, and clean up what no version needs.

    :param metric: of the vectors.
    :param full_text: whether texts are indexed.
    """
    _tidy(table)
    if full_text and _index_of(table, "text") is None:
        from lancedb.index import FTS

        table.create_index("text", config=FTS())
    name = _index_of(table, "vector")
    stats = table.index_stats(name) if name else None
    if needs_vector_index(
        table.count_rows(),
        stats.num_indexed_rows if stats else None,
        stats.num_unindexed_rows if stats else 0,
    ):
        _index_vectors(table, metric)


def _tidy(table: Any) -> None:
    now = time.time()
    for tag in expired_tags(table.tags.list(), now):
        table.tags.delete(tag)
    tagged = [tag["version"] for tag in table.tags.list().values()]
    times = {version["version"]: version["timestamp"].timestamp() for version in table.list_versions()}
    age = cleanup_age(tagged, times, now)
    small = table.stats()["fragment_stats"]["num_small_fragments"]
    if not is_tidy(small, len(table.list_indices()), now - min(times.values()), age):
        table.optimize(cleanup_older_than=timedelta(seconds=age))


def _index_vectors(table: Any, metric: Metric) -> None:
    """Index the vectors, and look whether searches still find what is nearest.

    IVF_FLAT, because it keeps whole vectors: services search with LanceDB's defaults, and with those the
    quantizing indexes miss most. Of the ten nearest of 60,000 vectors with 384 dimensions (noisy clusters),
    IVF_FLAT found all, IVF_RQ 0.39 (0.97 with ``refine_factor(10)``), and IVF_PQ 0.19 (0.75), built in forty
    times the CPU time.
    """
    from lancedb.index import IvfFlat

    sample = _sample(table)
    wanted = _nearest(table, metric, sample, exact=True)
    table.create_index("vector", config=IvfFlat(distance_type=metric), replace=True)
    found = _nearest(table, metric, sample, exact=False)
    recall = sum(len(a & b) / len(a) for a, b in zip(wanted, found, strict=True)) / len(wanted)
    log.info("Table %s: the vector index finds %.3f of the nearest", table.name, recall)
    if recall < MIN_RECALL:
        log.warning("Table %s: that is too little, vectors are compared one by one", table.name)
        table.drop_index(_index_of(table, "vector"))


def _sample(table: Any) -> np.ndarray:
    """Vectors from all over the table."""
    import numpy as np

    step = table.count_rows() // _SAMPLE
    rows = [
        table.search().select(["vector"]).offset(number * step).limit(1).to_arrow()["vector"][0].as_py()
        for number in range(_SAMPLE)
    ]
    return np.array(rows, dtype=np.float32)


def _nearest(table: Any, metric: str, sample: np.ndarray, *, exact: bool) -> list[set[str]]:
    found = []
    for vector in sample:
        query = table.search(vector).distance_type(metric).select(["id", "_distance"]).limit(_NEIGHBOURS)
        query = query.bypass_vector_index() if exact else query
        found.append(set(query.to_arrow()["id"].to_pylist()))
    return found
