"""Weaviate: rows as the bytes of a request that writes them. Pure functions of their input.

A request is a ``weaviate.v1.BatchObjectsRequest`` in protobuf's wire format
(https://protobuf.dev/programming-guides/encoding). The protobuf library takes twice the time for the same bytes, most
of it for the Python objects that it makes for each property of each chunk. The numbers of the fields are
what clients and servers of different versions understand each other by, so they stay; a test has the client's own
classes read what is written here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.base import Row

T = TypeVar("T")

_double = struct.Struct("<d").pack

# Tags: eight times the number of a field, and how its value is written (0: a varint, 1: eight bytes, 2: a length and
# so many bytes), as a varint. What is left out of a message is empty, or zero.
_OBJECT = b"\x0a"
_UUID, _PROPERTIES, _COLLECTION, _TENANT, _VECTOR = b"\x0a", b"\x1a", b"\x22", b"\x2a", b"\xba\x01"
_PLAIN = b"\x0a"  # those that are no references to other objects
_PROPERTY, _PROPERTY_NAME, _PROPERTY_VALUE = b"\x0a", b"\x0a", b"\x12"
_NUMBER, _TEXT, _BOOL = b"\x11", b"\x1a", b"\x20"
_VECTOR_NAME, _VECTOR_BYTES = b"\x0a", b"\x1a"
_VECTOR_TYPE_SINGLE = b"\x20\x01"  # one vector of 32 bit floats, lowest byte first


class RowEncoder:
    """Makes entries of a request out of rows of one collection. A request is entries one after the other.

    :param collection: its physical name.
    :param vector: name of the main vector.
    """

    def __init__(self, collection: str, vector: str) -> None:
        self._collection = _field(_COLLECTION, collection)
        self._tenants = _Kept(lambda name: _field(_TENANT, name))
        self._numbers = _Kept(_number_head)
        self._bools = _Kept(_bool_head)
        self._texts = _Kept(_text_heads)
        self._vectors = _Kept(_vector_heads)
        self._doc, self._digest, self._text = (self._texts[name] for name in ("doc", "digest", "text"))
        self._ordinal = self._numbers["ordinal"]
        self._vector = self._vectors[vector]
        self._uuid = _Heads(_UUID)
        self._properties = _Heads(_PROPERTIES, _PLAIN)
        self._object = _Heads(_OBJECT)

    def __call__(self, row: Row) -> bytes:
        """The entry of one row."""
        tenant, chunk = placed(row.id)
        uuid = chunk.encode()
        properties = self._properties_of(row)
        parts = [self._uuid[len(uuid)], uuid, self._collection, self._properties[len(properties)], properties]
        if tenant:
            parts.append(self._tenants[tenant])
        if row.vector.size:
            vector = row.vector.astype("<f4", copy=False).tobytes()
            parts += (self._vector[len(vector)], vector)
        for name, more in row.more.items():
            vector = more.astype("<f4", copy=False).tobytes()
            parts += (self._vectors[name][len(vector)], vector)
        content = b"".join(parts)
        return self._object[len(content)] + content

    def _properties_of(self, row: Row) -> bytes:
        doc, digest, text = row.doc.encode(), row.digest.encode(), row.text.encode()
        parts = [
            self._doc[len(doc)], doc,
            self._ordinal, _double(row.ordinal),
            self._digest[len(digest)], digest,
            self._text[len(text)], text,
        ]  # fmt: skip
        for name, value in row.properties.items():
            if isinstance(value, str):
                content = value.encode()
                parts += (self._texts[name][len(content)], content)
            elif isinstance(value, bool):
                parts += (self._bools[name], b"\x01" if value else b"\x00")
            elif value is not None:
                parts += (self._numbers[name], _double(value))
        return b"".join(parts)


def requests(
    rows: Sequence[Row], encode: Callable[[Row], bytes], objects: int, size: int
) -> Iterator[tuple[list[Row], bytes]]:
    """Rows with the requests that write them.

    Those with and those without vectors go apart, because not every module of the server can take both in one.

    :param encode: see :class:`RowEncoder`.
    :param objects: that a request may hold.
    :param size: bytes that it may have; one of a single object has what that takes.
    """
    for alike in (
        [row for row in rows if row.vector.size],
        [row for row in rows if not row.vector.size],
    ):
        part: list[Row] = []
        entries: list[bytes] = []
        total = 0
        for row in alike:
            entry = encode(row)
            if part and (len(part) == objects or total + len(entry) > size):
                yield part, b"".join(entries)
                part, entries, total = [], [], 0
            part.append(row)
            entries.append(entry)
            total += len(entry)
        if part:
            yield part, b"".join(entries)


class _Kept(dict[str, T], Generic[T]):
    """What follows from a name, made once. A dictionary, since to look into one is faster than any call."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> T:
        made = self[name] = self._make(name)
        return made


class _Heads(dict[int, bytes]):
    """What comes before the bytes of a field, by their number: tags and lengths of the messages around it, and its own.

    :param tags: the outermost first. A tag can have other fields of its message before it.
    """

    def __init__(self, *tags: bytes) -> None:
        super().__init__()
        self._tags = tags

    def __missing__(self, size: int) -> bytes:
        head = b""
        for tag in reversed(self._tags):
            head = tag + _varint(len(head) + size) + head
        self[size] = head
        return head


def _text_heads(name: str) -> _Heads:
    return _Heads(_PROPERTY, _field(_PROPERTY_NAME, name) + _PROPERTY_VALUE, _TEXT)


def _number_head(name: str) -> bytes:
    return _Heads(_PROPERTY, _field(_PROPERTY_NAME, name) + _PROPERTY_VALUE)[len(_NUMBER) + 8] + _NUMBER


def _bool_head(name: str) -> bytes:
    return _Heads(_PROPERTY, _field(_PROPERTY_NAME, name) + _PROPERTY_VALUE)[len(_BOOL) + 1] + _BOOL


def _vector_heads(name: str) -> _Heads:
    return _Heads(_VECTOR, _field(_VECTOR_NAME, name) + _VECTOR_TYPE_SINGLE + _VECTOR_BYTES)


def _field(tag: bytes, text: str) -> bytes:
    content = text.encode()
    return tag + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that there are more."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
