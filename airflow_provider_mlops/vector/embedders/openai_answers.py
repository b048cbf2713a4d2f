"""What answers of an OpenAI-compatible embedding server mean. Pure decisions.

The words that mean "too long" or "too large" are those of OpenAI, vLLM, text-embeddings-inference, LiteLLM
and the usual reverse proxies; they have no error code in common.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_mlops.vector.errors import EmbedderAnswerInvalid, VectorInvalid

if TYPE_CHECKING:
    import numpy as np

_TOO_LARGE = re.compile(
    r"maximum (context|input|sequence) length|context[_ ]length|max_tokens_per_request|too (long|large|many)"
    r"|must have less than|maximum (allowed )?batch size|batch size .*(maximum|exceed)|exceed\w* .*(length|limit|max)"
    r"|max \d+ tokens|longer than|reduce (your|the) (prompt|input|length)",
    re.IGNORECASE,
)
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")

Meaning = Literal["too large", "no base64", "no quota", "other"]


def request_body(
    model: str, texts: Sequence[str], *, dimension: int | None, base64_vectors: bool
) -> dict[str, Any]:
    """The JSON object to send; ``dimension`` only where shorter vectors are asked for."""
    body: dict[str, Any] = {"model": model, "input": list(texts)}
    if base64_vectors:
        # A quarter of the size of decimal numbers, and much less to parse.
        body["encoding_format"] = "base64"
    if dimension is not None:
        body["dimensions"] = dimension
    return body


def meaning(status: int, body: str) -> Meaning:
    """What an answer that is not a success asks for, beyond what its status says."""
    if status == 413:
        return "too large"
    if status in (402, 403, 429) and any(word in body for word in _QUOTA):
        return "no quota"
    if status in (400, 422):
        if "encoding_format" in body or "base64" in body:
            return "no base64"
        if _TOO_LARGE.search(body):
            return "too large"
    return "other"


def vectors_of(what: str, body: bytes, count: int, dimension: int) -> tuple[np.ndarray, int | None]:
    """Vectors in the order of the request's texts, and the tokens that the server counted, if it says.

    :param what: who answered, as the start of a sentence.
    :param count: how many texts were sent.
    :param dimension: expected length of the vectors.
    :raises EmbedderAnswerInvalid: cut off, of another shape, or not one vector for every text.
    :raises VectorInvalid: another dimension, NaN or infinity.
    """
    import numpy as np

    try:
        answer = json.loads(body)
        items = {int(item["index"]): item["embedding"] for item in answer["data"]}
        received = len(answer["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise EmbedderAnswerInvalid(
            f"{what}: the answer of {len(body)} bytes is no list of embeddings ({type(error).__name__})"
        ) from error
    if received != count or items.keys() != set(range(count)):
        raise EmbedderAnswerInvalid(
            f"{what}: {received} embeddings with {len(items.keys() & set(range(count)))} usable indices for {count} texts"
        )
    vectors = np.empty((count, dimension), dtype=np.float32)
    for place in range(count):
        vector = _vector(what, items[place])
        if vector.shape != (dimension,):
            raise VectorInvalid(
                f"{what}: a vector has {vector.size} dimensions instead of {dimension}",
                next_step="Set the embedder's dimension to that of the model; shorten=True asks the server for shorter vectors.",
            )
        vectors[place] = vector
    if not np.isfinite(vectors).all():
        raise VectorInvalid(f"{what}: a vector contains NaN or infinity")
    return vectors, _tokens(answer.get("usage"))


def _vector(what: str, value: Any) -> np.ndarray:
    """Servers that do not know base64 answer with numbers, whatever was asked for."""
    import numpy as np

    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
        return np.array(value, dtype=np.float32)
    except (ValueError, TypeError, binascii.Error) as error:
        raise EmbedderAnswerInvalid(f"{what}: an embedding is no list of numbers") from error


def _tokens(usage: object) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    for name in ("total_tokens", "prompt_tokens"):
        value = usage.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def pack(tokens: Sequence[int], *, max_tokens: int, max_texts: int) -> list[range]:
    """Neighbouring texts that share a request. A text that is too large by itself gets one of its own.

    :param tokens: of each text.
    """
    parts: list[range] = []
    start = total = 0
    for place, count in enumerate(tokens):
        if place > start and (total + count > max_tokens or place - start == max_texts):
            parts.append(range(start, place))
            start, total = place, 0
        total += count
    if len(tokens) > start:
        parts.append(range(start, len(tokens)))
    return parts
