"""Talking to an OpenAI-compatible embedding server: concurrency, rate limits, retries. The I/O of :mod:`.openai`."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_mlops.connection import ConnectionInfo, is_loopback
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    MlopsError,
    RateLimited,
    RemoteUnavailable,
    TemporaryError,
)
from airflow_provider_mlops.external_job.portal import Portal
from airflow_provider_mlops.http import CONNECT_TIMEOUT, async_client, redact, status_error
from airflow_provider_mlops.vector.embedders.base import TextKind, Usage
from airflow_provider_mlops.vector.embedders.openai_answers import meaning, pack, request_body, vectors_of
from airflow_provider_mlops.vector.embedders.rate_limit import RateLimit
from airflow_provider_mlops.vector.errors import EmbedderQuotaExhausted, TextTooLong

if TYPE_CHECKING:
    import httpx
    import numpy as np

    from airflow_provider_mlops.vector.embedders.openai import OpenAIEmbedder

log = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
#: Seconds for one answer; a request that takes longer is halved, for servers that compute slowly.
ANSWER_TIMEOUT = 120.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SHOWN_TEXT = 60


class _TooLarge(Exception):
    """The request has to be halved.

    :param why: what the server said.
    :param error: what is wrong if it is not the size: a server that does not answer may be slow, or dead.
    """

    def __init__(self, why: str, error: TemporaryError | None = None) -> None:
        super().__init__(why)
        self.error = error


class OpenAISession:
    """An :class:`~airflow_provider_mlops.vector.OpenAIEmbedder` with its connection. Its ``repr`` shows no secret.

    :param embedder: what to ask for.
    :param connection: where, and with which key.
    :raises ConnectionIncomplete: the host is no URL, or the key would travel unencrypted.
    """

    def __init__(self, embedder: OpenAIEmbedder, connection: ConnectionInfo) -> None:
        self._embedder = embedder
        self._connection = connection
        self._key = _key(connection)
        self._url = _base_url(connection)
        #: Who is asked, as the start of a sentence.
        self.what = f"Embedding server {self._url} (model {embedder.model!r})"
        self._base64 = True
        self._max_texts = embedder.max_texts
        self.usage = Usage()

    def __repr__(self) -> str:
        return f"OpenAISession({self._embedder!r}, {self._connection.conn_id!r})"

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self._embedder.dimension

    @property
    def max_input_tokens(self) -> int:
        """Longest text that the model reads."""
        return self._embedder.max_input_tokens

    @property
    def price_per_1k_tokens(self) -> float | None:
        """As the embedder says."""
        return self._embedder.price_per_1k_tokens

    def identity(self) -> Mapping[str, Any]:
        """That of the embedder."""
        return self._embedder.identity()

    def count_tokens(self, texts: Sequence[str], kind: TextKind = "passage") -> list[int]:
        """As the embedder counts them."""
        return self._embedder.count_tokens(texts, kind)

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> np.ndarray:
        """Vectors as the server gives them, in the order of the texts.

        :raises TextTooLong: one text has more tokens than the model reads.
        :raises VectorInvalid: the server's vectors have another dimension, NaN or infinity.
        :raises EmbedderQuotaExhausted, CredentialsRejected, PermissionDenied, RemoteObjectNotFound, RequestRefused:
            asking again would not help.
        :raises RateLimited, RemoteUnavailable, EmbedderAnswerInvalid: no good answer within the error budget.
        """
        prefixed = self._embedder.prefixed(texts, kind)
        tokens = self.count_tokens(texts, kind)
        # An estimate is no reason to refuse a text; the server counts it.
        if self._embedder.tokenizer and tokens and max(tokens) > self.max_input_tokens:
            place = tokens.index(max(tokens))
            raise self._too_long(prefixed[place], f"it has {tokens[place]} tokens")
        with Portal() as portal:
            return portal.run(_Batch(self, prefixed, tokens).go)

    def client(self) -> httpx.AsyncClient:
        """A client with the connection's key; the caller closes it."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return async_client(self._url, headers=headers, verify=self._connection.verify)

    async def ask(
        self, client: httpx.AsyncClient, texts: Sequence[str], tokens: int, limit: RateLimit
    ) -> np.ndarray:
        """One request. Any :class:`TemporaryError` may be tried again.

        :raises _TooLarge: it has to be halved.
        """
        import httpx

        embedder = self._embedder
        body = request_body(
            embedder.model,
            texts,
            dimension=embedder.dimension if embedder.shorten else None,
            base64_vectors=self._base64,
        )
        limit.take(tokens)
        try:
            answer = await client.post(
                "/embeddings", json=body, timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT)
            )
        except httpx.ReadTimeout as error:
            why = f"no answer in {ANSWER_TIMEOUT:.0f} s"
            slow = RemoteUnavailable(f"{self.what}: {why}")
            raise _TooLarge(why, slow) if len(texts) > 1 else slow from error
        except httpx.TransportError as error:
            raise RemoteUnavailable(f"{self.what}: {type(error).__name__}: {error}") from error
        limit.note(answer.headers, time.monotonic())
        if answer.status_code != 200:
            return await self._refused(client, answer, texts, tokens, limit)
        vectors, counted = vectors_of(self.what, answer.content, len(texts), embedder.dimension)
        self.usage.requests += 1
        self.usage.texts += len(texts)
        self.usage.tokens += tokens if counted is None else counted
        return vectors

    async def _refused(
        self,
        client: httpx.AsyncClient,
        answer: httpx.Response,
        texts: Sequence[str],
        tokens: int,
        limit: RateLimit,
    ) -> np.ndarray:
        said = redact(answer.text, self._key)
        kind = meaning(answer.status_code, said)
        if kind == "no base64" and self._base64:
            log.info("%s: knows no base64, going on with decimal numbers", self.what)
            self._base64 = False
            return await self.ask(client, texts, tokens, limit)
        if kind == "too large":
            if len(texts) == 1:
                raise self._too_long(texts[0], said)
            raise _TooLarge(said)
        conn_id = self._connection.conn_id
        if kind == "no quota":
            raise EmbedderQuotaExhausted(f"{self.what}: {' '.join(said.split())[:300]}", conn_id=conn_id)
        raise status_error(self.what, answer.status_code, headers=answer.headers, body=said, conn_id=conn_id)

    def _too_long(self, text: str, why: str) -> TextTooLong:
        return TextTooLong(
            f"{self.what}: a text of {len(text)} characters is too long for the model: {' '.join(why.split())[:200]}; "
            f"it begins with {text[:_SHOWN_TEXT]!r}",
            max_input_tokens=self.max_input_tokens,
        )

    def parts(self, tokens: Sequence[int]) -> list[range]:
        """Requests for the texts with so many tokens."""
        return pack(tokens, max_tokens=self._embedder.max_request_tokens, max_texts=self._max_texts)

    def halve(self, part: range, why: str) -> tuple[range, range]:
        """Two requests instead of one that is too large; later ones start smaller."""
        log.info("%s: a request of %d texts is too large (%s)", self.what, len(part), why[:200])
        middle = part.start + len(part) // 2
        if len(part) == self._max_texts:
            self._max_texts = -(-len(part) // 2)
        return range(part.start, middle), range(middle, part.stop)

    @property
    def concurrency(self) -> int:
        """Requests at a time."""
        return self._embedder.concurrency

    @property
    def error_budget(self) -> float:
        """Seconds without a good answer."""
        return self._embedder.error_budget


class _Batch:
    """The requests of one call of ``embed``, several at a time."""

    def __init__(self, session: OpenAISession, texts: Sequence[str], tokens: Sequence[int]) -> None:
        import numpy as np

        self._session = session
        self._texts = texts
        self._tokens = tokens
        self._open = deque(session.parts(tokens))
        self._limit = RateLimit()
        self._vectors = np.empty((len(texts), session.dimension), dtype=np.float32)
        self._last_success = time.monotonic()

    async def go(self) -> np.ndarray:
        import anyio

        try:
            async with self._session.client() as client, anyio.create_task_group() as group:
                for _ in range(min(self._session.concurrency, len(self._open))):
                    group.start_soon(self._work, client)
        except BaseExceptionGroup as failures:
            # The others were cancelled when the first one failed.
            known, _ = failures.split(MlopsError)
            if known is None:
                raise
            raise _first(known) from None
        return self._vectors

    async def _work(self, client: httpx.AsyncClient) -> None:
        while self._open:
            part = self._open.popleft()
            try:
                self._vectors[part.start : part.stop] = await self._insist(client, part)
            except _TooLarge as error:
                if error.error is not None and self._patience() < 0:
                    raise error.error from None
                self._open.extendleft(reversed(self._session.halve(part, str(error))))

    async def _insist(self, client: httpx.AsyncClient, part: range) -> np.ndarray:
        import anyio

        texts = self._texts[part.start : part.stop]
        tokens = sum(self._tokens[part.start : part.stop])
        attempt = 0
        while True:
            while pause := self._limit.wait(tokens, time.monotonic()):
                if pause > self._patience():
                    raise RateLimited(
                        f"{self._session.what}: its limit is used up for {pause:.0f} s",
                        delay=timedelta(seconds=pause),
                    )
                await anyio.sleep(pause)
            try:
                vectors = await self._session.ask(client, texts, tokens, self._limit)
            except TemporaryError as error:
                attempt += 1
                await self._hold_back(error, attempt)
            else:
                self._last_success = time.monotonic()
                return vectors

    async def _hold_back(self, error: TemporaryError, attempt: int) -> None:
        import anyio

        if error.delay is not None:
            pause = error.delay.total_seconds()
        else:
            pause = min(_FIRST_PAUSE * 2.0**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        if pause > self._patience():
            raise error
        log.warning("%s; trying again in %.1f s", error.message, pause)
        if error.delay is not None:
            self._limit.pause(time.monotonic() + pause)
        await anyio.sleep(pause)

    def _patience(self) -> float:
        """Seconds that are left of the error budget."""
        return self._last_success + self._session.error_budget - time.monotonic()


def _first(group: BaseExceptionGroup[MlopsError]) -> MlopsError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MlopsError)
    return error


def _key(connection: ConnectionInfo) -> str:
    key = (connection.password or "").strip()
    if not (key.isascii() and key.isprintable()):
        # Found here, because httpx would quote it in its own error.
        raise ConnectionIncomplete(
            f"Connection {connection.conn_id!r}: the password has characters that no HTTP header can hold",
            conn_id=connection.conn_id,
        )
    return key


def _base_url(connection: ConnectionInfo) -> str:
    url = connection.base_url() if connection.host else OPENAI_URL
    parts = urlsplit(url)
    if (
        connection.password
        and parts.scheme == "http"
        and not is_loopback(parts.hostname)
        and not connection.flag("allow_http", default=False)
    ):
        raise ConnectionIncomplete(
            f"Connection {connection.conn_id!r}: the key would travel unencrypted to {url}",
            next_step='Use https, or put "allow_http": true into the connection\'s extra.',
            conn_id=connection.conn_id,
        )
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1"
