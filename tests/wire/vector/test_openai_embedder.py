"""An OpenAI-compatible server on its bad days: every text gets its own vector, or the run gets a typed error."""

from __future__ import annotations

import logging
import pickle
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    InvalidArgument,
    RateLimited,
    RemoteObjectNotFound,
    RemoteUnavailable,
    RequestRefused,
)
from airflow_provider_mlops.vector import OpenAIEmbedder
from airflow_provider_mlops.vector.embedders import openai_session
from airflow_provider_mlops.vector.embedders.openai_session import OpenAISession
from airflow_provider_mlops.vector.errors import (
    EmbedderAnswerInvalid,
    EmbedderQuotaExhausted,
    TextTooLong,
    VectorInvalid,
)
from tests.wire.vector.embedding_server import KEY, EmbeddingServer, reset, silent, status, vector

TEXTS = [f"text number {number}" for number in range(50)]


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_session, "_FIRST_PAUSE", 0.01)


def words(texts: list[str]) -> list[int]:
    """The stand-in's own tokenizer."""
    return [len(text.split()) for text in texts]


def connection(server: EmbeddingServer, password: str | None = KEY) -> ConnectionInfo:
    return ConnectionInfo("openai_default", host=server.url, password=password)


def session(server: EmbeddingServer, **arguments: Any) -> OpenAISession:
    embedder = OpenAIEmbedder("m", **{"dimension": 8, "max_texts": 10, "error_budget": 20.0, **arguments})
    return embedder.connected(connection(server))


def assert_right(vectors: np.ndarray, texts: list[str] = TEXTS, dimension: int = 8) -> None:
    assert vectors.dtype == np.float32
    assert (vectors == np.stack([vector(text, dimension) for text in texts])).all()


def test_vectors_come_in_the_order_of_the_texts_over_several_requests_at_a_time(
    server: EmbeddingServer,
) -> None:
    server.slow_texts = 10
    opened = session(server, concurrency=3)
    assert_right(opened.embed(TEXTS))
    assert [len(request["input"]) for request in server.requests] == [10] * 5
    assert server.most_at_once == 3
    assert (opened.usage.requests, opened.usage.texts, opened.usage.tokens) == (5, 50, 150)
    assert all(request["encoding_format"] == "base64" for request in server.requests)
    assert not any("dimensions" in request for request in server.requests)


def test_requests_are_packed_by_tokens(server: EmbeddingServer) -> None:
    opened = session(server, max_texts=100, max_request_tokens=9, tokenizer=f"{__name__}:words")
    assert_right(opened.embed(TEXTS[:10]), TEXTS[:10])
    assert sorted(len(request["input"]) for request in server.requests) == [1, 3, 3, 3]


def test_prefixes_tell_queries_from_passages(server: EmbeddingServer) -> None:
    opened = session(server, query_prefix="q: ", passage_prefix="p: ")
    opened.embed(["a"])
    opened.embed(["a"], "query")
    assert server.texts == ["p: a", "q: a"]


def test_shorter_vectors_are_asked_for_only_when_wanted(server: EmbeddingServer) -> None:
    assert_right(session(server, dimension=4, shorten=True).embed(["a b"]), ["a b"], dimension=4)
    assert server.requests[0]["dimensions"] == 4


@pytest.mark.parametrize("how", ["refused", "ignored"])
def test_servers_without_base64_answer_with_numbers(server: EmbeddingServer, how: str) -> None:
    server.base64, server.ignores_encoding = how == "ignored", how == "ignored"
    opened = session(server, concurrency=1)
    assert_right(opened.embed(TEXTS))
    refused = 1 if how == "refused" else 0
    assert len(server.requests) == 5 + refused


@pytest.mark.parametrize(
    "limits",
    [{"max_texts": 3}, {"max_request_tokens": 12}, {"max_bytes": 150}],
    ids=["texts", "tokens", "bytes"],
)
def test_requests_that_are_too_large_are_halved_and_later_ones_start_smaller(
    server: EmbeddingServer, limits: dict[str, int]
) -> None:
    for name, value in limits.items():
        setattr(server, name, value)
    opened = session(server)
    assert_right(opened.embed(TEXTS))
    before = len(server.requests)
    assert_right(opened.embed(TEXTS))
    assert len(server.requests) - before < before
    assert opened.usage.texts == 100


def test_a_text_that_is_too_long_is_named_and_not_cut(server: EmbeddingServer) -> None:
    server.max_text_tokens = 5
    with pytest.raises(
        TextTooLong, match=r"31 characters.*maximum context length is 5.*'one two three"
    ) as caught:
        session(server).embed([*TEXTS, "one two three four five six sev"])
    assert KEY not in str(caught.value)


def test_with_a_tokenizer_a_text_that_is_too_long_costs_no_request(server: EmbeddingServer) -> None:
    with pytest.raises(TextTooLong, match="7 tokens"):
        session(server, max_input_tokens=6, tokenizer=f"{__name__}:words").embed(["a b c d e f g", *TEXTS])
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        status(500, "oops"),
        status(502, "<html>"),
        status(503, "{}", Retry_After="0"),
        status(429, "{}", Retry_After="0.05"),
        reset,
        silent(0.0),
        status(200, "{"),
        status(200, '{"data": "nothing"}'),
        status(200, "[]"),
    ],
    ids=["500", "502", "503", "429", "reset", "closed", "cut off", "odd", "list"],
)
def test_what_may_pass_is_tried_again(server: EmbeddingServer, fault: Any) -> None:
    server.faults.extend([None, fault, fault, None, fault])
    opened = session(server)
    assert_right(opened.embed(TEXTS))
    assert (opened.usage.requests, opened.usage.texts) == (5, 50)
    assert len(server.requests) == 8


def test_retry_after_holds_everybody_back(server: EmbeddingServer) -> None:
    server.faults.append(status(429, "{}", Retry_After="0.6"))
    started = time.monotonic()
    assert_right(session(server, concurrency=1).embed(TEXTS))
    assert time.monotonic() - started >= 0.6


def test_a_wait_beyond_the_error_budget_is_left_to_the_retry_of_the_task(server: EmbeddingServer) -> None:
    server.faults.append(status(429, "{}", Retry_After="3600"))
    started = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        session(server).embed(TEXTS)
    assert caught.value.delay is not None
    assert caught.value.delay.total_seconds() == 3600
    assert time.monotonic() - started < 10


def test_no_request_is_sent_while_the_limit_is_used_up(server: EmbeddingServer) -> None:
    server.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
    started = time.monotonic()
    assert_right(session(server, concurrency=1).embed(TEXTS[:30]), TEXTS[:30])
    assert time.monotonic() - started >= 0.6
    server.headers = {"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "1h0m0s"}
    before = len(server.requests)
    with pytest.raises(RateLimited, match=r"used up for 3[56]"):
        session(server, concurrency=1).embed(TEXTS[:30])
    assert len(server.requests) == before + 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(500, "oops"), RemoteUnavailable),
        (reset, RemoteUnavailable),
        (status(200, "{"), EmbedderAnswerInvalid),
    ],
)
def test_a_server_that_stays_bad_ends_the_run_after_the_error_budget(
    server: EmbeddingServer, fault: Any, error: type[Exception]
) -> None:
    server.faults.extend([fault] * 1000)
    started = time.monotonic()
    with pytest.raises(error):
        session(server, error_budget=1.0).embed(TEXTS)
    assert 0.3 < time.monotonic() - started < 5


def test_slow_servers_get_smaller_requests(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_session, "ANSWER_TIMEOUT", 0.4)
    server.slow_texts = 4
    assert_right(session(server).embed(TEXTS))


def test_a_server_that_never_answers_ends_the_run(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_session, "ANSWER_TIMEOUT", 0.3)
    server.faults.extend([silent(2.0)] * 1000)
    with pytest.raises(RemoteUnavailable, match="no answer"):
        session(server, error_budget=0.5).embed(TEXTS)


def test_reordered_answers_are_put_in_order(server: EmbeddingServer) -> None:
    server.garble = lambda answer: {**answer, "data": answer["data"][::-1]}
    assert_right(session(server).embed(TEXTS))


@pytest.mark.parametrize(
    "garble",
    [
        lambda answer: {**answer, "data": answer["data"][:-1]},
        lambda answer: {**answer, "data": [*answer["data"], answer["data"][0]]},
        lambda answer: {**answer, "data": [{**item, "index": 0} for item in answer["data"]]},
        lambda answer: {**answer, "data": [{**item, "embedding": "%%%"} for item in answer["data"]]},
        lambda answer: {**answer, "data": [{**item, "embedding": ["x"]} for item in answer["data"]]},
    ],
    ids=["one missing", "one too many", "equal indices", "no base64", "no numbers"],
)
def test_incomplete_answers_are_never_used(server: EmbeddingServer, garble: Any) -> None:
    server.garble = garble
    with pytest.raises(EmbedderAnswerInvalid):
        session(server, error_budget=0.2).embed(TEXTS)


def test_vectors_of_another_dimension_or_without_a_value_are_refused_at_once(server: EmbeddingServer) -> None:
    server.dimension = 16
    with pytest.raises(VectorInvalid, match="16 dimensions instead of 8"):
        session(server).embed(["a"])
    server.dimension, server.ignores_encoding = 8, True
    server.garble = lambda answer: {
        **answer,
        "data": [{**item, "embedding": [float("nan")] * 8} for item in answer["data"]],
    }
    with pytest.raises(VectorInvalid, match="NaN"):
        session(server).embed(["a"])
    assert len(server.requests) == 2


def test_usage_that_the_server_does_not_report_is_counted_here(server: EmbeddingServer) -> None:
    server.garble = lambda answer: {key: value for key, value in answer.items() if key != "usage"}
    opened = session(server, tokenizer=f"{__name__}:words")
    opened.embed(TEXTS)
    assert opened.usage.tokens == 150


def test_an_exhausted_account_is_not_waited_for(server: EmbeddingServer) -> None:
    body = '{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}'
    server.faults.append(status(429, body))
    with pytest.raises(EmbedderQuotaExhausted, match="current quota"):
        session(server).embed(["a"])
    assert len(server.requests) == 1


def test_refusals_are_typed_and_not_repeated(server: EmbeddingServer) -> None:
    server.faults.append(status(400, '{"error": {"message": "the model does not exist"}}'))
    with pytest.raises(RequestRefused, match="does not exist"):
        session(server).embed(["a"])
    embedder = OpenAIEmbedder("m", 8)
    with pytest.raises(RemoteObjectNotFound, match="/v2"):
        embedder.connected(ConnectionInfo("c", host=f"{server.url}/v2", password=KEY)).embed(["a"])
    assert len(server.requests) == 2


def test_the_key_is_in_no_message_and_no_log(
    server: EmbeddingServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    embedder = OpenAIEmbedder("m", 8)
    opened = embedder.connected(connection(server, "sk-wrong-secret"))
    with pytest.raises(CredentialsRejected, match=r"Incorrect API key provided: \*\*\*") as caught:
        opened.embed(["a"])
    with pytest.raises(ConnectionIncomplete, match="no HTTP header") as odd:
        embedder.connected(connection(server, "sk-wrong\n-secret"))
    for text in (str(caught.value), str(odd.value), repr(opened), caplog.text):
        assert "sk-wrong" not in text


def test_a_key_travels_encrypted_or_not_at_all() -> None:
    embedder = OpenAIEmbedder("m", 8)
    info = ConnectionInfo("c", host="http://models.example.com/v1", password=KEY)
    with pytest.raises(ConnectionIncomplete, match="unencrypted"):
        embedder.connected(info)
    embedder.connected(ConnectionInfo("c", host="http://models.example.com/v1"))
    embedder.connected(ConnectionInfo("c", host=info.host, password=KEY, extra={"allow_http": True}))


def test_without_host_it_is_openai() -> None:
    assert (
        "https://api.openai.com/v1 "
        in OpenAIEmbedder("m", 8).connected(ConnectionInfo("c", password=KEY)).what
    )


def test_without_a_connection_nothing_is_embedded() -> None:
    with pytest.raises(InvalidArgument, match="no connection"):
        OpenAIEmbedder("m", 8).embed(["a"])


def test_it_can_be_sent_to_another_process_and_goes_on_there(server: EmbeddingServer) -> None:
    assert_right(pickle.loads(pickle.dumps(session(server))).embed(TEXTS))


def test_a_timeout_of_the_task_ends_it_at_once(server: EmbeddingServer) -> None:
    class TaskTimedOut(Exception):
        pass

    def alarm(*_: object) -> None:
        raise TaskTimedOut

    server.faults.extend([silent(3.0)] * 100)
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    started = time.monotonic()
    try:
        with pytest.raises(TaskTimedOut):
            session(server).embed(TEXTS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 2.5


def test_no_texts_no_request(server: EmbeddingServer) -> None:
    assert session(server).embed([]).shape == (0, 8)
    assert server.requests == []
