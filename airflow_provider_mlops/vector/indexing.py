"""One run of an index: survey the source, plan, write, verify, judge, make it live, tidy up."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders import WeaviateModule
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import LayoutChanged
from airflow_provider_mlops.vector.gate import Gate, GateReport, GoldenQuery
from airflow_provider_mlops.vector.judging import Judge
from airflow_provider_mlops.vector.ledger import Holding, Ledger
from airflow_provider_mlops.vector.outbox import Outbox
from airflow_provider_mlops.vector.preloaded import Preloaded
from airflow_provider_mlops.vector.progress import Progress, summary
from airflow_provider_mlops.vector.sources import Source
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import (
    Build,
    Lease,
    Snapshot,
    Store,
    Version,
    renewing,
    version_name,
)
from airflow_provider_mlops.vector.survey import OnBad, Survey, planned_chunks, survey, wanted_chunks
from airflow_provider_mlops.vector.sync import write
from airflow_provider_mlops.vector.sync_plan import (
    Action,
    Mode,
    SyncPlan,
    check_bad,
    check_deletes,
    comparable,
    next_number,
    superfluous,
    unfinished,
    written_in_place,
)
from airflow_provider_mlops.vector.verify import check_contents, heal, mend

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run behaves.

    :param mode: ``sync`` writes the differences to the version that is there, ``rebuild`` writes everything
        anew; ``auto`` syncs if there is a version with the same fingerprint.
    :param activate: make the version live at the end.
    :param gate: what the version must achieve first, with its queries.
    :param max_delete_fraction: share of the indexed documents that may vanish in one run.
    :param max_bad_fraction: share of the source's records that may be unusable.
    :param batch_size: chunks that are embedded at a time.
    :param preloaded: the version that shards have filled; the run goes on with it.
    """

    mode: Mode = "auto"
    activate: bool = True
    gate: tuple[Gate, Sequence[GoldenQuery]] | None = None
    max_delete_fraction: float = 0.2
    max_bad_fraction: float = 0.0
    batch_size: int = 2000
    preloaded: Preloaded | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did; the counts are chunks and compare with the version it started from.

    :param healed: chunks that were written anew, since a crash of the store had left them half-written, or they were not
        found by their own vector.
    :param seconds: how long it took, from the first look at the source on.
    """

    version: Version
    previous: str | None
    active: bool
    action: Action
    survey: Survey
    plan: SyncPlan
    healed: int
    gate: GateReport | None
    seconds: float = 0.0


def run(
    index: VectorIndex,
    source: Source,
    store: Store,
    maker: RowMaker,
    options: RunOptions,
    *,
    holder: str,
    on_bad: OnBad,
) -> Outcome:
    """Bring the index to the state of the source. Readers see the old version or the new one, never a mixture
    (see ``shared_writes`` for the one exception: a sync in place, without gate, of a store without snapshots,
    during which a changed document may be seen with its old and new chunks; never without any).

    :param holder: name of the run in the lease; a retry of the same task uses the same.
    :param on_bad: gets each unusable record, once.
    :raises InvalidArgument, GoldenQueriesInvalid: the gate or its queries do not fit the index; nothing was read.
    :raises SourceEmpty, TooManyBadRecords, TooManyDeletes, EmbeddingBudgetExceeded: nothing was written.
    :raises IndexBusy: another run holds the index.
    :raises GateRejected: the version was built, is kept for inspection, and is not live.
    """
    started = time.monotonic()
    judge = Judge(index, *options.gate) if options.gate else None
    index.layout()  # readies the embedder: one that cannot embed is found before the source is read
    with Ledger() as ledger:
        found = survey(index, source, ledger, on_bad)
        check_bad(index.name, found.bad, found.records, options.max_bad_fraction, found.first_problem)
        log.info(
            "Index %s: %d documents, %d chunks, %d unusable records",
            index.name,
            found.documents,
            found.chunks,
            found.bad,
        )
        with store.lease(holder) as lease:
            outcome = _Run(index, source, store, maker, options, found, ledger, lease, judge).go()
    outcome = replace(outcome, seconds=time.monotonic() - started)
    log.info("%s", summary(index.name, outcome, maker))
    return outcome


class _Run:
    """State of one run under its lease."""

    def __init__(
        self,
        index: VectorIndex,
        source: Source,
        store: Store,
        maker: RowMaker,
        options: RunOptions,
        found: Survey,
        ledger: Ledger,
        lease: Lease,
        judge: Judge | None,
    ) -> None:
        self.index, self.source, self.store, self.maker = index, source, store, maker
        self.options, self.found, self.ledger, self.lease = options, found, ledger, lease
        self.judge = judge
        self.fingerprint = index.fingerprint()
        self.live: Version | None = None

    def go(self) -> Outcome:
        versions, live = self.store.versions(), self.store.live()
        # The live version counts even if it is gone: a new one under its name would be live while it is built.
        number = next_number([*versions, live] if live else versions)
        if live and live not in versions:
            # Somebody deleted what the live name points to; the next activation repairs it.
            log.warning("Index %s: its live version %s is gone", self.index.name, live.name)
            live = None
        self.live = live
        preloaded = self._preloaded(versions)
        mode = self.options.mode if preloaded or not self.options.preloaded else "auto"
        bases: list[Version] = [] if mode == "rebuild" else comparable(versions, live, self.fingerprint)
        if mode == "sync" and not bases:
            raise InvalidArgument(
                f"Index {self.index.name!r}: no finished version has the fingerprint {self.fingerprint[:8]}",
                next_step="Use mode='auto' or 'rebuild': the index was never built, or its definition has changed.",
            )
        start, plan, held = None, SyncPlan(self.found.chunks, 0, 0, 0), None
        for base in bases:
            self._check_layout(base)
            holding = self._checked(base)
            found = holding.plan()
            if found.empty:
                return self._unchanged(base, live, found)
            if start is None:
                start, plan, held = base, found, holding
            else:
                holding.close()
        # Where all documents may vanish there is nothing to check, and a damaged version need not be read.
        if live and live not in bases and self.options.max_delete_fraction < 1:
            self._checked(live).close()
        in_place = preloaded is None and written_in_place(
            start,
            live,
            shared_writes=self.store.shared_writes,
            activate=self.options.activate,
            gated=self.options.gate is not None,
        )
        attempt = preloaded
        if not (preloaded or in_place or mode == "rebuild"):
            attempt = unfinished(versions, self.fingerprint)
        if start and held:
            self.maker.reuse(self.store.read(start.name), held)
        self._check_budget(attempt)
        self.lease.writing()
        build = self.store.resume(start.name) if start and in_place else self._begin(attempt, number, start)
        healed = self._write(build, held if build.version == start else None)
        report = self._judge(build, build.version)
        if self.judge and report and not report.passed:
            build.reject()
            raise self.judge.rejection(build.version.name, report)
        build.seal()
        return self._finish(build.version, live, "synced" if start else "built", plan, healed, report)

    def _preloaded(self, versions: Sequence[Version]) -> Version | None:
        """The version that shards have filled, if it is still the one to go on with."""
        given = self.options.preloaded
        if given is None or given.token is None:
            return None
        attempt = unfinished(versions, self.fingerprint)
        if attempt and attempt.name == given.version:
            return attempt
        log.warning(
            "Index %s: version %s, which shards have loaded, is finished, gone or not the newest; going on without it",
            self.index.name,
            given.version,
        )
        return None

    def _hold(self, snapshot: Snapshot) -> Holding:
        chunks = self._progress("stored chunks compared").over(snapshot.scan())
        return self.ledger.hold(renewing(chunks, self.lease))

    def _progress(self, counted: str, total: int | None = None) -> Progress:
        return Progress(f"Index {self.index.name}", counted, total)

    def _check_layout(self, version: Version) -> None:
        if problems := self.store.read(version.name).layout_problems(self.index.layout()):
            raise LayoutChanged(
                f"Index {self.index.name!r}: version {version.name} is not as declared: {'; '.join(problems)}",
                problems=problems,
            )

    def _checked(self, version: Version) -> Holding:
        """What a finished version holds, after the fuse was asked about the documents that would go."""
        holding = self._hold(self.store.read(version.name))
        if holding.plan().deleted:
            gone, before, example = holding.gone()
            check_deletes(self.index.name, gone, before, example, self.options.max_delete_fraction)
        return holding

    def _check_budget(self, attempt: Version | None) -> None:
        """Count what is neither in the earlier version nor in an interrupted attempt, if that matters."""
        if not self.maker.budget.limited:
            return
        done = self._hold(self.store.resume(attempt.name)) if attempt else None
        chunks = renewing(wanted_chunks(self.index, self.source, self.ledger), self.lease)
        counted = self._progress("chunks estimated", self.found.chunks).over(chunks)
        estimate = self.maker.estimate(chunk for chunk in counted if done is None or chunk.id not in done)
        if done:
            done.close()
        log.info("Index %s: to embed: %s", self.index.name, estimate)
        self.maker.check_budget(estimate)

    def _unchanged(self, version: Version, live: Version | None, plan: SyncPlan) -> Outcome:
        healed, report = 0, None
        if self.lease.unclean:
            self.lease.writing()  # or else its good end would not count
            if self.store.shared_writes:
                build = self.store.resume(version.name)
                healed = mend(build, self.ledger.ids(), self.lease)
                healed += self._look_up(build, self.ledger.ids(), self.found.chunks)
        if version != live:
            report = self._judge(self.store.read(version.name), version)
            if self.judge and report and not report.passed:
                raise self.judge.rejection(version.name, report)
        return self._finish(version, live, "unchanged", plan, healed, report)

    def _begin(self, attempt: Version | None, number: int, base: Version | None) -> Build:
        if attempt:
            log.info("Index %s: going on with version %s (%s)", self.index.name, attempt.name, attempt.state)
            return self.store.resume(attempt.name)
        name = version_name(number, self.fingerprint)
        log.info(
            "Index %s: building version %s from %s", self.index.name, name, base.name if base else "nothing"
        )
        return self.store.begin(name, self.index.layout(), base.name if base else None)

    def _write(self, build: Build, held: Holding | None) -> int:
        before = held or self._hold(build)
        plan = before.plan()
        log.info(
            "Version %s: %d chunks to add, %d to update, %d to delete, %d stay",
            build.version.name,
            plan.added,
            plan.updated,
            plan.deleted,
            plan.unchanged,
        )
        # What this run has written is looked at always; the rest where it or an earlier run met a crash, unless that
        # "earlier run" is shards that say that they met none. What an unfinished version holds was perhaps never
        # looked at, even if another run has ended well since.
        given = self.options.preloaded
        vouched = given is not None and given.vouched(self.lease.continues)
        unsure = not vouched and (self.lease.unclean or (held is None and plan.unchanged > 0))
        # First, since what is half-written cannot be deleted.
        healed = mend(build, (chunk for chunk, _, _ in build.scan()), self.lease) if unsure else 0
        self.ledger.schedule(before)
        planned = planned_chunks(self.index, self.source, self.ledger)
        chunks = self._progress("chunks written", plan.writes).over(planned)
        outbox = Outbox(build, self.lease)
        write(chunks, self.ledger, before, build, self.maker, outbox, self.lease, self.options.batch_size)
        before.close()
        after = self._hold(build)
        check_contents(build.version.name, after)
        after.close()
        self.lease.renew()
        build.settle()
        if not outbox.smooth:
            healed += mend(build, self.ledger.ids(), self.lease)
        claimed_only = outbox.smooth and not unsure
        total = plan.writes if claimed_only else self.found.chunks
        return healed + self._look_up(build, self.ledger.ids(claimed_only=claimed_only), total)

    def _look_up(self, build: Build, ids: Iterable[str], total: int) -> int:
        return heal(build, self._progress("chunks looked up", total).over(ids), self.lease)

    def _judge(self, snapshot: Snapshot, version: Version) -> GateReport | None:
        if self.judge is None:
            return None
        report = self.judge.report(snapshot, self._opponent())
        log.info("Version %s: gate %s", version.name, report.to_json())
        return report

    def _opponent(self) -> Snapshot | str:
        """The live version, or why no other can be compared with it."""
        if self.live is None:
            return "there is no live version"
        in_store = isinstance(self.index.embedder, WeaviateModule)
        if not in_store and self.live.fingerprint8 != self.fingerprint[:8]:
            return f"the live version {self.live.name} has another fingerprint"
        return self.store.read(self.live.name)

    def _finish(
        self,
        version: Version,
        live: Version | None,
        action: Action,
        plan: SyncPlan,
        healed: int,
        report: GateReport | None,
    ) -> Outcome:
        self.store.adapt(version.name, self.index.layout())
        active = live is not None and live.name == version.name
        if self.options.activate and not active:
            self.lease.renew()
            self.store.activate(version.name)
            active = True
        now_live = self.store.live()
        for old in superfluous(self.store.versions(), now_live, version, self.index.keep_versions):
            log.info("Index %s: dropping %s version %s", self.index.name, old.state, old.name)
            self.lease.renew()
            self.store.drop(old.name)
        return Outcome(
            version=version,
            previous=live.name if live else None,
            active=active,
            action=action,
            survey=self.found,
            plan=plan,
            healed=healed,
            gate=report,
        )
