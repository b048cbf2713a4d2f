"""What embedding may use, and what it would. Pure decisions; checked before the first text is sent."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders.base import Embedder, Metered
from airflow_provider_mlops.vector.errors import EmbeddingBudgetExceeded


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would send through the embedder.

    :param texts: to be embedded; equal texts far apart may be counted twice.
    :param cached: texts whose vector is at hand.
    :param tokens: of ``texts``; ``None`` if the embedder counts none.
    :param cost: of ``tokens``; ``None`` without a price.
    """

    texts: int
    cached: int
    tokens: int | None
    cost: float | None


def cost_of(embedder: Embedder, tokens: int | None) -> float | None:
    """Price of tokens, in the currency of the embedder's ``price_per_1k_tokens``."""
    price = embedder.price_per_1k_tokens if isinstance(embedder, Metered) else None
    return None if price is None or tokens is None else tokens * price / 1000


@dataclass(frozen=True, slots=True)
class Budget:
    """The caps of one run.

    :param max_tokens: tokens that may be sent through the embedder.
    :param max_cost: what they may cost.
    :raises InvalidArgument: negative.
    """

    max_tokens: int | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if (self.max_tokens or 0) < 0 or (self.max_cost or 0) < 0:
            raise InvalidArgument(
                f"max_tokens={self.max_tokens}, max_cost={self.max_cost}: caps are not negative"
            )

    @property
    def limited(self) -> bool:
        """Whether there is any cap."""
        return self.max_tokens is not None or self.max_cost is not None

    def check_embedder(self, embedder: Embedder) -> None:
        """Refuse a cap that the embedder gives no figures for.

        :raises InvalidArgument: it costs no tokens, or has no price.
        """
        if self.limited and not isinstance(embedder, Metered):
            raise InvalidArgument(
                f"max_tokens or max_cost is set, but tokens of {type(embedder).__name__} cost nothing",
                next_step="Leave the caps out.",
            )
        if self.max_cost is not None and cost_of(embedder, 0) is None:
            raise InvalidArgument(
                "max_cost is set, but the embedder has no price", next_step="Set its price_per_1k_tokens."
            )

    def check(self, tokens: int | None, cost: float | None, texts: int) -> None:
        """Compare with the caps.

        :raises EmbeddingBudgetExceeded: more than a cap.
        """
        over = []
        if self.max_tokens is not None and tokens is not None and tokens > self.max_tokens:
            over.append(f"{tokens} tokens (max_tokens is {self.max_tokens})")
        if self.max_cost is not None and cost is not None and cost > self.max_cost:
            over.append(f"a cost of {cost:.4f} (max_cost is {self.max_cost:.4f})")
        if over:
            raise EmbeddingBudgetExceeded(
                f"Embedding {texts} new texts comes to {' and '.join(over)}",
                texts=texts,
                tokens=tokens,
                cost=cost,
                max_tokens=self.max_tokens,
                max_cost=self.max_cost,
            )
