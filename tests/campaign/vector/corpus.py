"""What the source holds, how it changes, and what an index made of it must hold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_provider_mlops.vector import HashEmbedder, RecursiveChunker, VectorIndex, WholeText

DOCUMENTS = 90
CHANGES = ("texts", "properties", "deletes", "additions", "all of it")
#: Declarations that an index moves between; each has a fingerprint of its own.
VARIANTS = ((48, False), (48, True), (64, True))
_LONGEST_PARAGRAPH = 90


class Document(NamedTuple):
    """One record of the source; its paragraphs are told apart by words that only they have."""

    paragraphs: tuple[str, ...]
    section: str
    size: int


class Stored(NamedTuple):
    """One chunk as it must be found in the index."""

    doc: str
    ordinal: int
    text: str
    section: str
    size: int


@dataclass(frozen=True)
class State:
    """A state of the source, and the declaration that it is indexed with.

    :param variant: place in :data:`VARIANTS`.
    """

    documents: Mapping[str, Document]
    variant: int

    def records(self) -> list[dict[str, Any]]:
        """What the run is given."""
        return [
            {"id": key, "text": "\n\n".join(doc.paragraphs), "section": doc.section, "size": doc.size}
            for key, doc in self.documents.items()
        ]

    def chunks(self) -> list[Stored]:
        """What the index must hold, without asking the package how it cuts texts."""
        cut = VARIANTS[self.variant][1]
        return sorted(
            Stored(key, ordinal, text, doc.section, doc.size)
            for key, doc in self.documents.items()
            for ordinal, text in enumerate(doc.paragraphs if cut else ["\n\n".join(doc.paragraphs)])
        )


def declared(name: str, variant: int, place: Mapping[str, Any]) -> VectorIndex:
    """The index as it is declared.

    :param place: backend with URI or connection id.
    """
    dimension, cut = VARIANTS[variant]
    return VectorIndex(
        name,
        embedder=HashEmbedder(dimension),
        chunker=RecursiveChunker(max_size=_LONGEST_PARAGRAPH, overlap=0) if cut else WholeText(),
        properties={"section": "keyword", "size": "int"},
        keep_versions=2,
        **place,
    )


def first(chance: random.Random) -> State:
    """The source at the beginning."""
    documents = {f"doc{number}": _document(f"doc{number}", 0, chance) for number in range(DOCUMENTS)}
    return State(documents, chance.randrange(len(VARIANTS)))


def changed(state: State, change: str, revision: int, chance: random.Random) -> State:
    """The source after a change.

    :param revision: a number that no change had before; texts with it are new.
    """
    documents = dict(state.documents)
    keys = list(documents)
    for key in chance.sample(keys, len(keys) // 4) if change in ("texts", "all of it") else ():
        new = _document(key, revision, chance)
        # Some paragraphs stay, at another place.
        kept = documents[key].paragraphs[:1] if chance.random() < 0.5 else ()
        documents[key] = new._replace(paragraphs=(*new.paragraphs, *kept))
    for key in chance.sample(keys, len(keys) // 4) if change in ("properties", "all of it") else ():
        documents[key] = documents[key]._replace(section=f"section{revision % 5}", size=revision)
    for key in chance.sample(keys, len(keys) // 10) if change in ("deletes", "all of it") else ():
        del documents[key]
    for number in range(len(keys) // 10 if change in ("additions", "all of it") else 0):
        key = f"new{revision}x{number}"
        documents[key] = _document(key, revision, chance)
    return State(documents, state.variant)


def _document(key: str, revision: int, chance: random.Random) -> Document:
    paragraphs = [
        f"{key}p{number}r{revision} tells what {key} says in part {number} of issue {revision} word{chance.randrange(9)}"
        for number in range(chance.randint(1, 4))
    ]
    if chance.random() < 0.1:
        paragraphs.append(paragraphs[0])  # equal texts in one document
    return Document(tuple(paragraphs), f"section{chance.randrange(5)}", revision)


def common_chunks(states: Sequence[State]) -> set[tuple[str, str]]:
    """(document, text) of the chunks that all of the states have."""
    return set.intersection(*({(chunk.doc, chunk.text) for chunk in state.chunks()} for state in states))


def common_documents(states: Sequence[State]) -> set[str]:
    """Documents that all of the states have, whatever their texts."""
    return set.intersection(*(set(state.documents) for state in states))


def unchanged_documents(states: Sequence[State]) -> list[str]:
    """Documents with the same text in all of the states."""
    return sorted(
        key
        for key in common_documents(states)
        if len({state.documents[key].paragraphs for state in states}) == 1
    )
