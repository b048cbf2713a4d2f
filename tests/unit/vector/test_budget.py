"""What embedding would cost is known, and compared with its caps, before it is spent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import HashEmbedder
from airflow_provider_mlops.vector.budget import Budget, Estimate
from airflow_provider_mlops.vector.cache import EmbeddingCache
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.embedders.base import Usage
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import EmbeddingBudgetExceeded


class Paid:
    """Costs 2.0 per 1,000 words; reports one word more per text than it counts beforehand."""

    max_input_tokens = 100
    dimension = 2

    def __init__(self, price: float | None = 2.0) -> None:
        self.price_per_1k_tokens = price
        self.usage = Usage()

    def identity(self) -> dict[str, Any]:
        return {"type": "paid"}

    def count_tokens(self, texts: Sequence[str], kind: str = "passage") -> list[int]:
        return [len(text.split()) for text in texts]

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        self.usage.requests += 1
        self.usage.texts += len(texts)
        self.usage.tokens += sum(self.count_tokens(texts)) + len(texts)
        return np.ones((len(texts), 2), dtype=np.float32)


def chunk(number: int, text: str) -> Chunk:
    return Chunk(f"id{number}", f"doc{number}", 0, "", text, {}, None)


CHUNKS = [chunk(number, f"word word {number}") for number in range(100)]


def test_estimate_counts_what_is_not_at_hand_and_sends_nothing(tmp_path: Path) -> None:
    embedder = Paid()
    with closing(EmbeddingCache(tmp_path / "cache", embedder.identity())) as cache:
        cache.put({CHUNKS[0].text: np.ones(2, np.float32)})
        maker = RowMaker(embedder, cache)
        maker._in_base = {"id1", "id2"}
        estimate = maker.estimate([*CHUNKS, chunk(900, CHUNKS[5].text)])
    assert estimate == Estimate(texts=97, cached=4, tokens=291, cost=pytest.approx(0.582))
    assert embedder.usage == Usage()


def test_embedders_without_tokens_or_price_have_estimates_without_them() -> None:
    assert RowMaker(HashEmbedder()).estimate(CHUNKS) == Estimate(100, 0, None, None)
    assert RowMaker(Paid(price=None)).estimate(CHUNKS) == Estimate(100, 0, 300, None)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_tokens=299), r"100 new texts comes to 300 tokens \(max_tokens is 299\)"),
        (Budget(max_cost=0.5), r"a cost of 0\.6000 \(max_cost is 0\.5000\)"),
        (Budget(max_tokens=1, max_cost=0.0), r"300 tokens .* and a cost of 0\.6"),
    ],
)
def test_a_run_above_a_cap_is_refused_before_it_begins(budget: Budget, words: str) -> None:
    embedder = Paid()
    maker = RowMaker(embedder, budget=budget)
    with pytest.raises(EmbeddingBudgetExceeded, match=words) as caught:
        maker.check_budget(maker.estimate(CHUNKS))
    assert (caught.value.tokens, caught.value.texts) == (300, 100)
    assert embedder.usage.requests == 0


def test_a_run_at_its_cap_passes() -> None:
    maker = RowMaker(Paid(), budget=Budget(max_tokens=300, max_cost=0.6))
    maker.check_budget(maker.estimate(CHUNKS))


def test_a_run_that_costs_more_than_was_estimated_stops_before_the_batch_that_would_pass_the_cap() -> None:
    embedder = Paid()
    maker = RowMaker(embedder, budget=Budget(max_tokens=300))
    maker.check_budget(maker.estimate(CHUNKS))
    for start in range(0, 70, 10):
        assert len(maker.rows(CHUNKS[start : start + 10])) == 10
    with pytest.raises(EmbeddingBudgetExceeded):
        maker.rows(CHUNKS[70:80])
    assert (maker.tokens, maker.cost) == (280, pytest.approx(0.56))


@pytest.mark.parametrize(
    ("embedder", "budget"),
    [
        (HashEmbedder(), Budget(max_tokens=1)),
        (HashEmbedder(), Budget(max_cost=1)),
        (Paid(None), Budget(max_cost=1)),
    ],
)
def test_a_cap_without_figures_is_refused(embedder: Any, budget: Budget) -> None:
    with pytest.raises(InvalidArgument):
        RowMaker(embedder, budget=budget)


def test_negative_caps_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        Budget(max_tokens=-1)


def test_local_embedders_cost_nothing() -> None:
    maker = RowMaker(HashEmbedder())
    maker.rows(CHUNKS)
    assert (maker.embedded, maker.tokens, maker.cost) == (100, None, None)
