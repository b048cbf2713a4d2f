"""Counting tokens by a function, by a tokenizer's file, or by estimate."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.tokens import check_tokenizer, estimate_tokens, token_counter


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def first_only(texts: list[str]) -> list[int]:
    return [1]


def test_a_function_counts() -> None:
    assert token_counter(f"{__name__}:words")(["a b", "", "c"]) == [2, 0, 1]


def test_a_function_that_is_missing_or_forgets_texts_is_named() -> None:
    with pytest.raises(InvalidArgument, match="nothing_here"):
        token_counter(f"{__name__}:nothing_here")
    with pytest.raises(InvalidArgument, match="1 numbers for 2 texts"):
        token_counter(f"{__name__}:first_only")(["a", "b"])


def test_names_of_no_tokenizer_are_refused_without_opening_anything() -> None:
    with pytest.raises(InvalidArgument, match="cl100k"):
        check_tokenizer("cl100k")
    check_tokenizer("/nowhere/tokenizer.json")
    check_tokenizer("package.module:function")


def test_estimate_is_never_below_one_token_per_three_bytes() -> None:
    assert estimate_tokens(["", "a", "abcd", "東京", "🦊"]) == [0, 1, 2, 2, 2]


def test_a_tokenizer_file_counts_without_cutting(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=5)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    assert token_counter(str(path))(["a b a b", "a"]) == [4, 1]


def test_an_unreadable_tokenizer_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{")
    for path in (tmp_path / "tokenizer.json", tmp_path / "missing.json"):
        with pytest.raises(InvalidArgument, match=path.name):
            token_counter(str(path))
