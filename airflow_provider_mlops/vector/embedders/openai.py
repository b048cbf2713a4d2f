"""Embeddings from a server that speaks OpenAI's API: OpenAI itself, vLLM, text-embeddings-inference, LiteLLM and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders.base import TextKind
from airflow_provider_mlops.vector.tokens import check_tokenizer, estimate_tokens, token_counter

if TYPE_CHECKING:
    import numpy as np

    from airflow_provider_mlops.connection import ConnectionInfo
    from airflow_provider_mlops.vector.embedders.openai_session import OpenAISession


@dataclass(frozen=True, slots=True)
class OpenAIEmbedder:
    """Embeds through ``POST /embeddings`` of an OpenAI-compatible server.

    Texts are packed into requests by tokens and count; a request that the server finds too large is halved.
    Rate limits are obeyed, and what may pass is tried again for ``error_budget`` seconds without any success.
    A text that is too long fails the run: nothing is cut in silence.

    :param model: name of the model at the server.
    :param dimension: length of its vectors.
    :param shorten: ask the server for vectors of this dimension. Only for models that can give shorter ones
        (such as ``text-embedding-3-small``); other servers refuse it.
    :param embeddings_conn_id: Airflow connection; types ``openai`` and ``http`` fit. Its host is the base URL
        (default ``https://api.openai.com/v1``; without a path, ``/v1`` is meant), its password the API key,
        if the server wants one. Extra: ``verify_tls``, ``ca_path``, ``allow_http``.
    :param revision: changed by hand when other weights serve under the same name: part of the fingerprint.
    :param query_prefix: put before every query; some models want ``"query: "``. No part of the identity: no
        stored vector depends on it.
    :param passage_prefix: put before every indexed text.
    :param max_input_tokens: longest text that the model reads.
    :param tokenizer: of the model: path of its ``tokenizer.json``, or ``package.module:function`` (a list of
        texts in, a list of numbers out). Default: one token for every three bytes of UTF-8, which is rather
        too high.
    :param price_per_1k_tokens: what the server charges, in a currency of your own; gives costs in reports and
        makes ``max_cost`` possible.
    :param max_texts: texts per request.
    :param max_request_tokens: tokens per request.
    :param concurrency: requests at a time.
    :param error_budget: seconds without a single good answer after which the run gives up.
    :raises InvalidArgument: one of these is not as said.
    """

    model: str
    dimension: int
    shorten: bool = False
    embeddings_conn_id: str = "openai_default"
    revision: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    max_input_tokens: int = 8192
    tokenizer: str | None = None
    price_per_1k_tokens: float | None = None
    max_texts: int = 256
    max_request_tokens: int = 100_000
    concurrency: int = 4
    error_budget: float = 300.0

    def __post_init__(self) -> None:
        if not self.model or not self.embeddings_conn_id:
            raise InvalidArgument("OpenAIEmbedder: model and embeddings_conn_id must not be empty")
        for name in ("dimension", "max_input_tokens", "max_texts", "max_request_tokens", "concurrency"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"OpenAIEmbedder {self.model!r}: {name} is {getattr(self, name)}")
        if self.error_budget < 0 or (self.price_per_1k_tokens or 0.0) < 0:
            raise InvalidArgument(f"OpenAIEmbedder {self.model!r}: error_budget or price is negative")
        if self.tokenizer is not None:
            check_tokenizer(self.tokenizer)

    def identity(self) -> Mapping[str, Any]:
        """Model, revision, dimension and prefix; not the server's address: the same model may move."""
        return {
            "type": "openai",
            "model": self.model,
            "revision": self.revision,
            "dimension": self.dimension,
            "shorten": self.shorten,
            "passage_prefix": self.passage_prefix,
        }

    def prefixed(self, texts: Sequence[str], kind: TextKind) -> list[str]:
        """The texts as they are sent."""
        prefix = self.query_prefix if kind == "query" else self.passage_prefix
        return [prefix + text for text in texts]

    def count_tokens(self, texts: Sequence[str], kind: TextKind = "passage") -> list[int]:
        """By ``tokenizer``, or estimated; the prefix is counted as well."""
        count = token_counter(self.tokenizer) if self.tokenizer else estimate_tokens
        return count(self.prefixed(texts, kind))

    def connected(self, connection: ConnectionInfo) -> OpenAISession:
        """The embedder with what it needs to reach its server.

        :raises ConnectionIncomplete: the connection's host is no URL, or its key would travel unencrypted.
        """
        from airflow_provider_mlops.vector.embedders.openai_session import OpenAISession

        return OpenAISession(self, connection)

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> np.ndarray:
        """Only with a connection.

        :raises InvalidArgument: always.
        """
        raise InvalidArgument(
            f"OpenAIEmbedder {self.model!r} has no connection",
            next_step="Pass connections, or embed with embedder.connected(connection).",
        )
