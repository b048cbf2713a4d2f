"""What answers mean, how texts share requests, how long to hold back: decisions without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import OpenAIEmbedder
from airflow_provider_mlops.vector.embedders import embedder_from_json, embedder_to_json
from airflow_provider_mlops.vector.embedders.openai_answers import meaning, pack, vectors_of
from airflow_provider_mlops.vector.embedders.rate_limit import RateLimit, seconds

MODEL = "text-embedding-3-small"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (413, "<html>", "too large"),
        (
            400,
            "This model's maximum context length is 8192 tokens, however you requested 9000 tokens",
            "too large",
        ),
        (400, '{"code": "max_tokens_per_request"}', "too large"),
        (400, "'$.input' is invalid. Expected an array of at most 2048: array too long", "too large"),
        (422, "batch size 64 > maximum allowed batch size 32", "too large"),
        (422, "Input validation error: `inputs` must have less than 512 tokens. Given: 700", "too large"),
        (400, "Unrecognized request argument supplied: encoding_format", "no base64"),
        (429, '{"error": {"code": "insufficient_quota"}}', "no quota"),
        (429, '{"error": {"code": "rate_limit_exceeded"}}', "other"),
        (400, "The model `x` does not exist", "other"),
        (401, "maximum context length", "other"),
        (500, "batch size too large", "other"),
    ],
)
def test_meaning_of_refusals(status: int, body: str, expected: str) -> None:
    assert meaning(status, body) == expected


@given(tokens=st.lists(st.integers(1, 50)), most=st.integers(1, 100), texts=st.integers(1, 8))
def test_requests_hold_every_text_once_in_order_and_within_bounds(
    tokens: list[int], most: int, texts: int
) -> None:
    parts = pack(tokens, max_tokens=most, max_texts=texts)
    assert [place for part in parts for place in part] == list(range(len(tokens)))
    assert all(0 < len(part) <= texts for part in parts)
    assert all(len(part) == 1 or sum(tokens[place] for place in part) <= most for part in parts)


def test_numbers_without_usage_are_enough() -> None:
    body = json.dumps({"data": [{"index": 0, "embedding": [1, 2.5]}]}).encode()
    vectors, tokens = vectors_of("x", body, 1, 2)
    assert vectors.tolist() == [[1.0, 2.5]]
    assert tokens is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1.5", 1.5),
        ("", None),
        ("soon", None),
        ("1 day", None),
    ],
)
def test_durations_of_reset_headers(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


def test_rate_limit_holds_back_until_its_reset() -> None:
    limit = RateLimit()
    assert limit.wait(10, now=0) == 0
    limit.note({"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "6s"}, now=0)
    assert limit.wait(100, now=0) == 0
    limit.take(60)
    assert limit.wait(50, now=1) == 5
    assert limit.wait(40, now=1) == 0
    limit.note({}, now=2)
    assert limit.wait(50, now=2) == 4
    limit.note({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10s"}, now=2)
    assert limit.wait(1, now=2) == 10
    limit.note({"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "?"}, now=3)
    limit.pause(until=20)
    limit.pause(until=15)
    assert limit.wait(1, now=3) == 17
    assert limit.wait(1, now=21) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": ""}, {"dimension": 0}, {"max_texts": 0}, {"concurrency": 0}, {"error_budget": -1},
        {"price_per_1k_tokens": -0.1}, {"tokenizer": "cl100k"}, {"embeddings_conn_id": ""},
    ],
)  # fmt: skip
def test_impossible_embedder_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        OpenAIEmbedder(**{"model": MODEL, "dimension": 8, **arguments})


def test_identity_is_what_stored_vectors_depend_on() -> None:
    base = OpenAIEmbedder(MODEL, 8)
    same = [
        OpenAIEmbedder(MODEL, 8, embeddings_conn_id="other"), OpenAIEmbedder(MODEL, 8, query_prefix="q"),
        OpenAIEmbedder(MODEL, 8, price_per_1k_tokens=1.0, max_texts=1, concurrency=9, tokenizer="a:b"),
    ]  # fmt: skip
    other = [
        OpenAIEmbedder("x", 8), OpenAIEmbedder(MODEL, 9), OpenAIEmbedder(MODEL, 8, revision="2"),
        OpenAIEmbedder(MODEL, 8, passage_prefix="p"), OpenAIEmbedder(MODEL, 8, shorten=True),
    ]  # fmt: skip
    assert all(embedder.identity() == base.identity() for embedder in same)
    assert all(embedder.identity() != base.identity() for embedder in other)
    assert embedder_from_json(json.loads(json.dumps(embedder_to_json(same[2])))) == same[2]
