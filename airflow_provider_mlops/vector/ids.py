"""Identity of chunks: the same text of the same document has the same id in every run, on every machine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

#: Root of all ids. Never change it: every index would be written anew.
_ROOT = uuid.UUID("6f2d2b1e-6c55-5b0e-9a3c-0d9a2f5f7c11")
_UNIT = "\x1f"


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
    namespace = uuid.uuid5(_ROOT, index)
    seen: dict[str, int] = {}
    ids = []
    for text in texts:
        hashed = text_hash(text)
        occurrence = seen.get(hashed, 0)
        seen[hashed] = occurrence + 1
        ids.append(str(uuid.uuid5(namespace, _UNIT.join((key, hashed, str(occurrence))))))
    return ids


def digest(ordinal: int, properties: Mapping[str, Any], vector: bytes = b"") -> str:
    """Hash of what may change while a chunk keeps its id (32 hex digits).

    :param ordinal: place of the chunk in its document.
    :param properties: the user's properties.
    :param vector: a vector that comes from the source, as bytes; empty where it follows from the text.
    """
    state = json.dumps([ordinal, properties], sort_keys=True, ensure_ascii=False).encode()
    return blake2b(state + vector, digest_size=16).hexdigest()


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Hash of all that decides whether two versions of an index can be compared (32 hex digits)."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode(), digest_size=16).hexdigest()
