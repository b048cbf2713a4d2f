"""What every vector store offers: numbered versions of one index, one of them live.

A *version* (``v3_1f0c9a7e``: number, start of the fingerprint) is complete once it is sealed. Readers
follow the live name and see a version whole or not at all. LanceDB keeps versions as tags of one table,
Weaviate as collections behind an alias; both pass the same contract tests.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector.errors import IndexBusy
from airflow_provider_mlops.vector.settings import WeaviateSettings

if TYPE_CHECKING:
    import numpy as np

    from airflow_provider_mlops.vector.filters import Condition

#: Columns that every index has; user properties take other names.
FIXED_COLUMNS = ("id", "doc", "ordinal", "digest", "text", "vector")

Scalar = str | int | float | bool | None
State = Literal["building", "built", "rejected"]
#: Seconds after which a lease that was not renewed may be taken over by another run.
LEASE_SECONDS = 600.0
# Seconds of scanning, even from a slow store.
_ITEMS_PER_RENEWAL = 100_000
T = TypeVar("T")
_VERSION = re.compile(r"v([0-9]+)_([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an index.

    :param name: ``v<number>_<first 8 hex digits of the fingerprint>``.
    :param physical: what to open in the store (collection or table).
    :param state: ``building`` until sealed; ``rejected`` when its gate said no.
    """

    name: str
    physical: str
    state: State

    @property
    def number(self) -> int:
        """Position in the index's history, from 1."""
        return int(self.name[1:].split("_")[0])

    @property
    def fingerprint8(self) -> str:
        """First 8 hex digits of the fingerprint that it was built with."""
        return self.name.rsplit("_", 1)[1]


def version_name(number: int, fingerprint: str) -> str:
    """Name of a version."""
    return f"v{number}_{fingerprint[:8]}"


def is_version_name(text: str) -> bool:
    """Whether ``text`` was made by :func:`version_name`."""
    return _VERSION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a store has to know to make an empty version.

    :param dimension: length of the vectors; 0 if the store makes them.
    :param metric: ``cosine``, ``dot`` or ``l2``.
    :param properties: name to type of the user's properties.
    :param full_text: keep a full-text index beside the vectors (where that is an option of the store).
    :param vectorizer: what makes the vectors in the store, with its settings, if that is where they are made.
    :param weaviate: settings that only Weaviate has.
    :param tenants: chunks belong to tenants.
    :param vectors: names of further vectors, with the property that each is made of.
    """

    dimension: int
    metric: Literal["cosine", "dot", "l2"]
    properties: Mapping[str, str]
    full_text: bool
    vectorizer: tuple[str, Mapping[str, Any]] | None = None
    weaviate: WeaviateSettings = field(default_factory=WeaviateSettings)
    tenants: bool = False
    vectors: Mapping[str, str] = field(default_factory=dict)


class Row(NamedTuple):
    """One chunk as it is written. A tuple, because many of them are made, and taken apart, at a time.

    :param id: deterministic UUID (text form); where the index has tenants, with the tenant before it, as
        :func:`~airflow_provider_mlops.vector.ids.address` says. So are ids everywhere below.
    :param doc: key of the document.
    :param ordinal: position within the document, from 0.
    :param digest: hash of everything below and above; a changed digest means that the row is sent again.
    :param vector: empty if the store has to make it.
    :param more: further vectors by name.
    """

    id: str
    doc: str
    ordinal: int
    digest: str
    text: str
    properties: Mapping[str, Scalar]
    vector: np.ndarray
    more: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def vector_bytes(self) -> int:
        """Size of all of its vectors."""
        return self.vector.nbytes + sum([vector.nbytes for vector in self.more.values()])


@dataclass(slots=True)
class Written:
    """What became of a batch.

    :param uncertain: ids whose answer was lost, or that met trouble that passes.
    :param refused: final refusals by id, in the store's words.
    :param trouble: why ids are uncertain, in the store's words; of several reasons one.
    """

    uncertain: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    trouble: str = ""

    def include(self, other: Written) -> None:
        """Add what became of another batch."""
        self.uncertain.extend(other.uncertain)
        self.refused.update(other.refused)
        self.trouble = other.trouble or self.trouble


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    :param distance: smaller for nearer; ``None`` if it was found by words alone.
    :param score: greater for better: BM25 by words, reciprocal ranks in a hybrid search; ``None`` by vector.
    """

    id: str
    doc: str
    text: str
    properties: Mapping[str, Scalar]
    distance: float | None
    score: float | None = None


class Snapshot(Protocol):
    """Reading one version."""

    def count(self) -> int:
        """Number of chunks."""

    def scan(self) -> Iterator[tuple[str, str, str]]:
        """Every chunk as (id, document key, digest), in no order."""

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Those of the chunks that exist, whole, by id."""

    def digests(self, ids: Sequence[str]) -> dict[str, str]:
        """Digests of those of the chunks that exist, by id."""

    def search(
        self,
        vectors: np.ndarray,
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        """The ``k`` nearest chunks of each query, of those for which all of ``where`` holds.

        :param vectors: one row per query.
        :param tenant: whose chunks; always given where the index has tenants, here and below.
        :param name: of the chunks' vectors to compare with, default the main ones; here and below.
        :param where: checked against the index's properties; see :mod:`~airflow_provider_mlops.vector.filters`.
        :raises TenantMissing: there is none of that name; here and below.
        :raises InvalidArgument: this version has no property that ``where`` names; here and below.
        """

    def search_meaning(
        self,
        texts: Sequence[str],
        k: int,
        *,
        tenant: str | None = None,
        name: str | None = None,
        where: Sequence[Condition] = (),
    ) -> list[list[Hit]]:
        """The ``k`` nearest chunks of each text, where the store makes the vectors.

        :raises InvalidArgument: this version's vectors are not made by the store.
        """

    def search_words(
        self, texts: Sequence[str], k: int, *, tenant: str | None = None, where: Sequence[Condition] = ()
    ) -> list[list[Hit]]:
        """The ``k`` best chunks of each text by BM25: those with any of its words.

        :raises InvalidArgument: this version keeps no full-text index.
        """

    def unfindable(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that are not found by their own vector, or by one of their further ones."""

    def unlisted(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that filters pass by: not stored, or half-written when the store crashed."""

    def layout_problems(self, layout: Layout | None) -> list[str]:
        """What is wrong with columns, tokenization or metric, one line each.

        :param layout: what the version should have; without it only the fixed columns are looked at.
        """


class Build(Snapshot, Protocol):
    """Writing one version. Whoever holds the lease is the only writer."""

    #: A chunk can be stored, and yet be missing from what vector searches look through.
    hides_chunks: bool

    @property
    def version(self) -> Version:
        """The version under construction."""

    def upsert(self, rows: Sequence[Row], *, lacking: bool = False) -> Written:
        """Write rows. Ids are distinct within a call, and between two calls of :meth:`flush`.

        :param lacking: the version holds none of them, so the store need not look.
        :returns: the store's answer. What it does not name is confirmed when :meth:`flush` returns.
        """

    def flush(self) -> Sequence[Row]:
        """Have everything confirmed that was written. The other methods here do that first where they need it.

        :returns: rows to send once more, as they were: without that, a crash of the store may still undo a part.
        """

    def abandon(self) -> None:
        """Let go of what is not confirmed: the process is about to end."""

    def written_with(self, ids: Collection[str]) -> Iterator[str]:
        """All chunks that were last written in the moments in which these were; without any, none."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete by id; ids that are not there are no error. Returns when all are gone."""

    def settle(self) -> None:
        """Complete what searches use, once all is written; returns when they see everything."""

    def seal(self) -> None:
        """Mark the version as complete; it is settled."""

    def reject(self) -> None:
        """Mark the version as refused by its gate; it stays for inspection."""


class Lease(Protocol):
    """The right to write an index, for one run."""

    @property
    def token(self) -> str:
        """Names this tenure and no other: who knows it can work under it, see :meth:`Store.join`."""

    @property
    def continues(self) -> str | None:
        """Token of the tenure that this one took over from a holder of the same name, if there was one."""

    @property
    def unclean(self) -> bool:
        """A run before this one began to write and did not end well."""

    def writing(self) -> None:
        """Say that writes begin: until the lease ends without an error, the index counts as unclean."""

    def renew(self) -> None:
        """Prove that the lease is still held, and keep it. Called before anything that cannot be undone.

        :raises IndexBusy: another run has taken over.
        """

    def leave(self) -> None:
        """Do not give the lease back in the end: a holder of the same name takes it over, or it ends by itself."""


class Joined(Protocol):
    """Work under somebody's lease, beside others who do the same."""

    def renew(self) -> None:
        """Prove that the tenure still lasts, and prolong it.

        :raises IndexBusy: it is over.
        """


def tenure_over(index: str) -> IndexBusy:
    """The error for those who work under a lease that has ended."""
    return IndexBusy(
        f"Index {index!r}: the lease that this shard works under is over: its run has finished, or another one writes",
        next_step="If the finishing task has not run, clear the plan task together with what comes after it.",
    )


class Releasable(Protocol):
    """A lease that can be given back."""

    def release(self, *, clean: bool) -> None:
        """Let others in.

        :param clean: the run ended well; what it wrote is whole. One that wrote nothing changes nothing about that.
        """


def release_after(error: BaseException, lease: Releasable) -> None:
    """Give the lease back after a failure, whose cause stays the one that is told if the store is gone as well."""
    try:
        lease.release(clean=False)
    except MlopsError as another:
        error.add_note(f"The lease could not be given back either, and ends by itself: {another}")


def renewing(items: Iterator[T], lease: Joined) -> Iterator[T]:
    """The items, with the lease kept while they come."""
    for number, item in enumerate(items, start=1):
        yield item
        if not number % _ITEMS_PER_RENEWAL:
            lease.renew()


class Store(Protocol):
    """One index in one store."""

    #: Writing to a version that readers use is seen by them at once (no snapshots).
    shared_writes: bool

    def versions(self) -> list[Version]:
        """All versions, newest first."""

    def live(self) -> Version | None:
        """The version that readers see."""

    def read(self, version: str) -> Snapshot:
        """Open a version.

        :raises VersionMissing: there is none of that name.
        """

    def begin(self, name: str, layout: Layout, base: str | None) -> Build:
        """Start a version: empty, or with everything that ``base`` holds."""

    def resume(self, version: str) -> Build:
        """Write on: an unfinished or rejected version, or a finished one where ``shared_writes``."""

    def adapt(self, version: str, layout: Layout) -> None:
        """Bring settings that can be changed in a version that is there to those of the layout."""

    def activate(self, version: str) -> str | None:
        """Make a finished version live, verify it, and return the name of the version that was.

        :raises VersionMissing: there is none of that name.
        :raises VersionIncomplete: it is not finished.
        :raises ActivationFailed: the store did not do it.
        """

    def pinned(self) -> set[str]:
        """Names of versions that somebody else's alias or tag points to."""

    def drop(self, version: str) -> None:
        """Forget a version. The live one is refused by the store's caller."""

    def lease(self, holder: str) -> AbstractContextManager[Lease]:
        """Become the only writer. A holder of the same name (a retry of the same task) takes over at once.

        :raises IndexBusy: somebody else holds it.
        """

    def join(self, token: str) -> Joined:
        """Work under the lease of that token, without ending it.

        :raises IndexBusy: that tenure is over.
        """

    def close(self) -> None:
        """Give connections back."""
