"""How many tokens a text has: by the model's tokenizer, by a function of the user's, or by an estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from airflow_provider_mlops.errors import ExtraMissing, InvalidArgument
from airflow_provider_mlops.vector.functions import is_function_name, load_function

CountTokens = Callable[[Sequence[str]], list[int]]

#: Bytes of UTF-8 per token in :func:`estimate_tokens`. English has four to five; with three the estimate is
#: too high there, and about right for source code and for scripts of three bytes per character.
_BYTES_PER_TOKEN = 3


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of texts without their tokenizer: one for every three bytes of UTF-8, rounded up."""
    return [-(-len(text.encode()) // _BYTES_PER_TOKEN) for text in texts]


def check_tokenizer(name: str) -> None:
    """Refuse what cannot name a tokenizer, without opening it.

    :raises InvalidArgument: neither a ``tokenizer.json`` nor ``package.module:function``.
    """
    if not name.endswith(".json") and not is_function_name(name):
        raise InvalidArgument(
            f"Tokenizer {name!r} is neither the path of a tokenizer.json nor 'package.module:function'"
        )


def token_counter(name: str) -> CountTokens:
    """What counts tokens.

    :param name: path of a ``tokenizer.json``, or ``package.module:function``: a function that takes a list of
        texts and returns the number of tokens of each.
    :raises InvalidArgument: it cannot be read or imported.
    :raises ExtraMissing: a ``tokenizer.json`` needs the extra ``onnx``.
    """
    check_tokenizer(name)
    return _from_file(name) if name.endswith(".json") else _from_function(name)


def _from_function(name: str) -> CountTokens:
    function = load_function(name, "Tokenizer")

    def count(texts: Sequence[str]) -> list[int]:
        counts = list(function(list(texts)))
        if len(counts) != len(texts):
            raise InvalidArgument(f"Tokenizer {name!r} returned {len(counts)} numbers for {len(texts)} texts")
        return counts

    return count


@lru_cache(maxsize=4)
def _from_file(path: str) -> CountTokens:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ExtraMissing(
            f"Tokenizer {path!r} needs the package tokenizers",
            next_step="pip install 'airflow-provider-mlops[onnx]'",
        ) from error
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:
        raise InvalidArgument(
            f"Tokenizer {path!r}: {error}", next_step="Name a readable tokenizer.json."
        ) from error
    # A file may say to cut or fill up texts, which would hide how long they are.
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(list(texts))]

    return count
