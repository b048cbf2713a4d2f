"""Streams in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter; no more than one of them is in memory."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
