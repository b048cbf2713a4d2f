"""Looking a version over: everything it holds once, and chunks one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_mlops.vector.batches import batches
from airflow_provider_mlops.vector.damage import AuditReport
from airflow_provider_mlops.vector.documents import vector_problem
from airflow_provider_mlops.vector.ids import chunk_ids, placed
from airflow_provider_mlops.vector.ledger import Ledger
from airflow_provider_mlops.vector.stores.base import Layout, Lease, Row, Snapshot, Store, Version, renewing
from airflow_provider_mlops.vector.verify import heal, mend

if TYPE_CHECKING:
    import numpy as np

# Chunks that are read whole at a time.
_PART = 1000


def audit(
    index: str,
    store: Store,
    version: Version,
    lease: Lease,
    *,
    layout: Layout | None,
    sample: int | None,
    healing: bool = False,
) -> AuditReport:
    """Look a version over. Without ``healing`` nothing is written.

    :param index: name of the index.
    :param layout: what the version should look like; ``None`` if it is of another declaration.
    :param sample: documents whose chunks are looked at one by one, picked at random; ``None`` for all.
    :param healing: write chunks anew that are passed by in filters, or not found by their own vector.
    :raises ChunksUnfindable: healing did not help.
    :raises IndexBusy: another run has taken over.
    """
    live = store.live()
    report = AuditReport(
        version.name,
        version.state,
        live is not None and live.name == version.name,
        lease.unclean,
        outdated=layout is None,
    )
    snapshot = store.read(version.name)
    report.layout = snapshot.layout_problems(layout)
    report.counted = snapshot.count()
    with Ledger() as ledger:
        holding = ledger.hold(renewing(snapshot.scan(), lease))
        report.chunks = sum(1 for _ in holding.stale())
        report.repeated = sum(1 for _ in holding.repeated())
        _, report.documents, _ = holding.gone()
        places = _Places()
        for part in batches(holding.sample(sample), _PART):
            lease.renew()
            _look(index, snapshot, part, layout, report, places)
            ids = [chunk for chunk, _ in part]
            unlisted = snapshot.unlisted(ids)
            # A look-up by vector begins with the id.
            lost = [chunk for chunk in snapshot.unfindable(ids) if chunk not in set(unlisted)]
            report.unlisted += len(unlisted)
            report.unfindable += len(lost)
            if (unlisted or lost) and healing and store.shared_writes:
                lease.writing()
                build = store.resume(version.name)
                mend(build, unlisted, lease)
                heal(build, [*unlisted, *lost], lease)
                report.mended += len(unlisted)
                # Not what healing counts: those that only healing hid were found before.
                report.healed += len(lost)
        places.end()
        report.missing += places.missing
        report.doubled = places.doubled
    return report


def _look(
    index: str,
    snapshot: Snapshot,
    part: Sequence[tuple[str, str]],
    layout: Layout | None,
    report: AuditReport,
    places: _Places,
) -> None:
    rows = snapshot.rows([chunk for chunk, _ in part])
    for chunk, doc in part:
        report.checked += 1
        row = rows.get(chunk)
        if row is None:
            report.missing += 1
            continue
        places.add(doc, row.ordinal)
        report.foreign += not _is_ours(index, row)
        report.without_vector += not _usable(row.vector, layout)


def _is_ours(index: str, row: Row) -> bool:
    # Which of several equal texts of its document it is, is not known: at most as many came before as its place says.
    _, chunk = placed(row.id)
    return any(chunk in chunk_ids(index, row.doc, [row.text] * count) for count in (1, row.ordinal + 1))


def _usable(vector: np.ndarray, layout: Layout | None) -> bool:
    dimension = (layout.dimension if layout else 0) or len(vector)
    return len(vector) > 0 and vector_problem(vector, dimension) is None


class _Places:
    """Places of chunks within their documents, which come one after the other."""

    def __init__(self) -> None:
        self.missing = 0
        self.doubled = 0
        self._doc: str | None = None
        self._chunks = 0
        self._seen: set[int] = set()

    def add(self, doc: str, ordinal: int) -> None:
        """Note one chunk."""
        if doc != self._doc:
            self.end()
            self._doc = doc
        self._chunks += 1
        self._seen.add(ordinal)

    def end(self) -> None:
        """Count the last document."""
        if self._seen:
            self.missing += max(self._seen) + 1 - len(self._seen)
            self.doubled += self._chunks - len(self._seen)
        self._chunks, self._seen = 0, set()
