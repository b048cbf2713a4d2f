"""What a run would do. Reads the source and the store, and writes nothing: no lease, no mark, no embedding."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from airflow_provider_mlops.errors import InvalidArgument, PermanentError
from airflow_provider_mlops.vector.budget import Estimate
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import EmbeddingBudgetExceeded, TooManyBadRecords, TooManyDeletes
from airflow_provider_mlops.vector.indexing import RunOptions
from airflow_provider_mlops.vector.judging import Judge
from airflow_provider_mlops.vector.ledger import Holding, Ledger
from airflow_provider_mlops.vector.sources import Source
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import Store, Version, version_name
from airflow_provider_mlops.vector.survey import OnBad, Survey, survey, wanted_chunks
from airflow_provider_mlops.vector.sync_plan import (
    Action,
    DocumentPlan,
    SyncPlan,
    check_bad,
    check_deletes,
    comparable,
    next_number,
    reason,
    unfinished,
    written_in_place,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do now.

    :param action: as in the payload of a run.
    :param reason: why, in words.
    :param version: name of the version that would be written, or that is good as it is.
    :param base: version that the counts compare with; ``None`` if everything is written anew.
    :param live: version that readers see.
    :param in_place: the differences would be written into the live version.
    :param survey: what the source holds.
    :param plan: chunks.
    :param documents: documents.
    :param estimate: what would be embedded.
    :param refused: what would fail the run before it writes anything.
    """

    action: Action
    reason: str
    version: str
    base: str | None
    live: str | None
    in_place: bool
    survey: Survey
    plan: SyncPlan
    documents: DocumentPlan
    estimate: Estimate
    refused: list[PermanentError]

    @property
    def refusals(self) -> list[str]:
        """The same as text."""
        return [f"{type(error).__name__}: {error.message}" for error in self.refused]


def preview(
    index: VectorIndex, source: Source, store: Store, maker: RowMaker, options: RunOptions, on_bad: OnBad
) -> Preview:
    """Look what :func:`.indexing.run` would do.

    :raises SourceEmpty: there is nothing to plan with.
    :raises InvalidArgument, GoldenQueriesInvalid: the gate or its queries do not fit the index.
    """
    if options.gate:
        Judge(index, *options.gate)  # refuses what the run would refuse; nothing is asked here
    index.layout()
    with Ledger() as ledger:
        found = survey(index, source, ledger, on_bad)
        return _Look(index, source, store, maker, options, found, ledger).go()


class _Look:
    def __init__(
        self,
        index: VectorIndex,
        source: Source,
        store: Store,
        maker: RowMaker,
        options: RunOptions,
        found: Survey,
        ledger: Ledger,
    ) -> None:
        self.index, self.source, self.store, self.maker = index, source, store, maker
        self.options, self.found, self.ledger = options, found, ledger
        self.fingerprint = index.fingerprint()
        self.refused: list[PermanentError] = []

    def go(self) -> Preview:
        options, found = self.options, self.found
        try:
            check_bad(
                self.index.name, found.bad, found.records, options.max_bad_fraction, found.first_problem
            )
        except TooManyBadRecords as error:
            self._refuse(error)
        versions, live = self.store.versions(), self.store.live()
        number = next_number([*versions, live] if live else versions)
        live = live if live in versions else None
        bases = [] if options.mode == "rebuild" else comparable(versions, live, self.fingerprint)
        if options.mode == "sync" and not bases:
            self._refuse(
                InvalidArgument(
                    f"Index {self.index.name!r}: no finished version has the fingerprint of today"
                )
            )
        start, held = self._base(bases)
        if live and live not in bases and options.max_delete_fraction < 1:
            self._checked(live).close()
        plan = held.plan() if held else SyncPlan(found.chunks, 0, 0, 0)
        documents = held.documents() if held else DocumentPlan(found.documents, 0, 0, 0)
        action: Action = "built" if start is None else "unchanged" if plan.empty else "synced"
        in_place = action == "synced" and written_in_place(
            start,
            live,
            shared_writes=self.store.shared_writes,
            activate=options.activate,
            gated=options.gate is not None,
        )
        attempt = None if in_place or options.mode == "rebuild" else unfinished(versions, self.fingerprint)
        if start and held:
            self.maker.reuse(self.store.read(start.name), held)
        written = start if start and (in_place or action == "unchanged") else attempt
        return Preview(
            action=action,
            reason=reason(
                action,
                options.mode,
                start,
                live,
                attempt,
                self.fingerprint,
                in_place=in_place,
                known=bool(versions),
            ),
            version=written.name if written else version_name(number, self.fingerprint),
            base=start.name if start else None,
            live=live.name if live else None,
            in_place=in_place,
            survey=found,
            plan=plan,
            documents=documents,
            estimate=Estimate(0, 0, None, None) if action == "unchanged" else self._estimate(attempt),
            refused=self.refused,
        )

    def _refuse(self, error: PermanentError) -> None:
        self.refused.append(error)

    def _base(self, bases: list[Version]) -> tuple[Version | None, Holding | None]:
        start, held = None, None
        for base in bases:
            holding = self._checked(base)
            if start is None or holding.plan().empty:
                start, held = base, holding
            if holding.plan().empty:
                break
        return start, held

    def _checked(self, version: Version) -> Holding:
        holding = self.ledger.hold(self.store.read(version.name).scan())
        gone, before, example = holding.gone()
        try:
            check_deletes(self.index.name, gone, before, example, self.options.max_delete_fraction)
        except TooManyDeletes as error:
            self._refuse(error)
        return holding

    def _estimate(self, attempt: Version | None) -> Estimate:
        done = None
        if attempt:
            # To go on with a rejected version takes its mark away; to read it does not.
            building = attempt.state == "building"
            snapshot = self.store.resume(attempt.name) if building else self.store.read(attempt.name)
            done = self.ledger.hold(snapshot.scan())
        chunks = wanted_chunks(self.index, self.source, self.ledger)
        estimate = self.maker.estimate(chunk for chunk in chunks if done is None or chunk.id not in done)
        try:
            self.maker.check_budget(estimate)
        except EmbeddingBudgetExceeded as error:
            self._refuse(error)
        return estimate
