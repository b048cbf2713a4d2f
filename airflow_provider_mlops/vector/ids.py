"""Identity of chunks: the same text of the same document has the same id in every run, on every machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b, sha1
from typing import Any

#: Root of all ids. Never change it: every index would be written anew.
_ROOT = uuid.UUID("6f2d2b1e-6c55-5b0e-9a3c-0d9a2f5f7c11")
_UNIT = "\x1f"
# First digit of a UUID's fourth group: two bits of it say which kind of UUID it is.
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}
# An encoder of its own: ``json.dumps`` makes a new one per call when it is given options.
_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def text_hash(text: str) -> str:
    """Hash of a chunk's text (32 hex digits)."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def chunk_ids(index: str, key: str, texts: Sequence[str]) -> list[str]:
    """Ids of a document's chunks, in order.

    An id depends on the chunk's own text, not on its place: a new first paragraph makes one new id. Equal
    texts within a document are told apart by counting.

    :param index: name of the index.
    :param key: the document's key.
    :param texts: the chunks.
    """
    root = _root(index)
    seen: dict[str, int] = {}
    ids = []
    for text in texts:
        hashed = text_hash(text)
        occurrence = seen.get(hashed, 0)
        seen[hashed] = occurrence + 1
        # This is ``str(uuid.uuid5(...))`` in a sixth of its time; every chunk of every run needs one.
        hasher = root.copy()
        hasher.update(f"{key}{_UNIT}{hashed}{_UNIT}{occurrence}".encode())
        digits = hasher.hexdigest()
        ids.append(
            f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
        )
    return ids


@cache
def _root(index: str) -> Any:
    """The hash of the index's namespace, to go on from."""
    return sha1(uuid.uuid5(_ROOT, index).bytes, usedforsecurity=False)


def address(tenant: str | None, chunk: str) -> str:
    """What a chunk is known by: its id, below its tenant where the index has tenants (``acme/6f2d2b1e-...``)."""
    return chunk if tenant is None else f"{tenant}/{chunk}"


def placed(chunk: str) -> tuple[str | None, str]:
    """The reverse of :func:`address`."""
    tenant, _, plain = chunk.rpartition("/")
    return tenant or None, plain


def tenants(chunks: Iterable[str]) -> set[str]:
    """Whose these are, by what :func:`address` made; those of no tenant add nothing."""
    return {chunk.rpartition("/")[0] for chunk in chunks} - {""}


def digest(ordinal: int, properties: Mapping[str, Any], vector: bytes = b"") -> str:
    """Hash of what may change while a chunk keeps its id (32 hex digits).

    :param ordinal: place of the chunk in its document.
    :param properties: the user's properties.
    :param vector: a vector that comes from the source, as bytes; empty where it follows from the text.
    """
    # The JSON of [ordinal, properties], put together here: the encoder has a short way for texts, not for lists.
    values = ", ".join([f"{_name(name)}: {_json(properties[name])}" for name in sorted(properties)])
    state = f"[{ordinal}, {{{values}}}]".encode()
    return blake2b(state + vector, digest_size=16).hexdigest()


# There are only as many as indexes have properties.
_name = cache(_ENCODE)


def _json(value: Any) -> str:
    return str(value) if type(value) is int else _ENCODE(value)


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hash of all that decides whether two versions of an index can be compared (32 hex digits)."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()
