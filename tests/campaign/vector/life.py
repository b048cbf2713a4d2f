"""The life of one index: changes of its source, runs that die, runs that repair, care, and readers all the time."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector import VectorIndex
from airflow_provider_mlops.vector.stores import open_store
from tests.campaign.vector.corpus import VARIANTS, State, changed, declared, first
from tests.campaign.vector.plan import PHASES, Death, Step, draw
from tests.campaign.vector.reader import read
from tests.campaign.vector.views import (
    Watch,
    unfindable,
    wrong_at_the_end,
    wrong_with,
)
from tests.campaign.vector.views import (
    seen as seen_in,
)
from tests.campaign.vector.worker import SHORT_LEASE, Job, work
from tests.servers.weaviate import Weaviate

#: Processes are forked by one that has imported everything and opened nothing.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.campaign.vector.worker", "tests.campaign.vector.reader"])

_TRIES = 5
_PATIENCE = 240.0
_FIRST_GUESS = 1.0


@dataclass
class End:
    """How a process ended.

    :param kind: ``done``, ``failed`` or ``killed``.
    :param phase: the one it was in when it, or the server, was killed; empty otherwise.
    """

    kind: str
    told: tuple[Any, ...] = ()
    phase: str = ""


class Life:
    """One index and what happens to it.

    :param backend: ``lancedb`` or ``weaviate``.
    :param place: LanceDB: ``{"uri": ...}``; Weaviate: host, port, extra.
    :param server: dies instead of the workers, if given.
    :param sabotage: a safeguard that is taken away.
    """

    def __init__(
        self,
        backend: str,
        seed: int,
        place: Mapping[str, Any],
        server: Weaviate | None = None,
        sabotage: str | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.backend, self.seed, self.place, self.server, self.sabotage = (
            backend,
            seed,
            place,
            server,
            sabotage,
        )
        self.name = f"Life{seed}"
        self.figures: Counter[str] = Counter()
        self.findings: list[str] = []
        self.events: list[str] = []
        self._tell = tell
        self._chance = random.Random(seed + 1)
        self._revision = 0
        self._usual = _FIRST_GUESS
        self._holder = 0
        # What each finished version holds.
        self._states: dict[str, State] = {}
        self._source = first(self._chance)
        self._shown = self._source
        self._crashed = False
        self._crashed_in = ""

    def live(self) -> None:
        """From the first build to the end."""
        self._finish(self._source, "sync", commits=False)
        ours, theirs = FORKS.Pipe()
        # Not the child's: a reader is never killed.
        self._reader = ours
        reader = FORKS.Process(
            target=read, args=(self.name, self.place, self.server is not None, theirs), daemon=True
        )
        reader.start()
        theirs.close()
        try:
            self._watch(Watch([self._shown]))
            for number, step in enumerate(draw(self.seed)):
                self._event(f"step {number}: {step}")
                self._step(step)
            ours.send(None)
            figures, findings = ours.recv()
            self.figures.update({f"reader {name}": count for name, count in figures.items()})
            for finding in findings:
                self._finding(finding)
        finally:
            reader.terminate()
            reader.join()

    # --- what happens ---

    def _step(self, step: Step) -> None:
        before, target = self._shown, self._change(self._source, step.change)
        if step.way == "redeclared":
            target = replace(target, variant=(target.variant + 1) % len(VARIANTS))
        shared = self.backend == "weaviate" and step.way == "sync"
        states = [before, target]
        self._watch(Watch(states, shared))
        end = self._run(target, step.way, step.death, step.commits, short=step.other)
        self._between(end, states, shared)
        if end.kind == "done" and step.way != "held back" and not (self._crashed and self.server):
            self._shown = target
        # The version of another declaration may be live by now; then the next run is a sync into it.
        shared = shared or (self.backend == "weaviate" and step.way == "redeclared")
        if step.meanwhile:
            target = self._change(target, step.meanwhile)
            states.append(target)
            self._watch(Watch(states, shared, self._crashed))
        if step.again and self.server is None:
            self._between(
                self._run(target, step.way, step.again, step.commits, short=step.other), states, shared
            )
        if step.other:
            self._other_holder(target, step)
        self._source = target
        self._finish(target, step.way, step.commits)
        if step.care:
            self._care(*step.care)

    def _other_holder(self, target: State, step: Step) -> None:
        """The next run is another one: it meets the lease of the dead, and gets it when its time is over."""
        self._holder += 1
        end = self._run(target, step.way, None, step.commits)
        if end.kind == "failed" and end.told[0] == "IndexBusy":
            self.figures["busy"] += 1
            time.sleep(SHORT_LEASE)

    def _finish(self, target: State, way: str, commits: bool) -> None:
        """Runs until one succeeds, then everything has to be right."""
        for _ in range(_TRIES):
            end = self._run(target, way, None, commits)
            self.figures["repairs"] += 1
            if end.kind == "done":
                break
            self._event(f"repair: {end}")
            time.sleep(1)
        else:
            self._finding(f"{_TRIES} runs could not repair it; the last: {end.told}")
            return
        if way == "held back":
            end = self._run(target, "sync", None, commits)
            if end.kind != "done":
                self._finding(f"a finished version could not be made live: {end.told}")
        figures = end.told[0]
        self._states[figures["version"]] = self._shown = target
        self.figures["healed by runs"] += figures["healed"]
        if self._crashed:
            self._after_crash(target, strict=figures["whole"])
        self._check(target)

    def _after_crash(self, target: State, strict: bool) -> None:
        """A run that knew of the crash has looked up everything; where none could know, the audit does."""
        with self._open(target) as store:
            hidden = unfindable(store, self._index(target))
        if hidden and strict:
            self._finding(
                f"after a run that looked up everything, {len(hidden)} chunks are hidden: {hidden[:3]}"
            )
        elif hidden:
            self.figures["hidden until the audit"] += len(hidden)
            self._event(
                f"{len(hidden)} chunks hidden by a crash in {self._crashed_in}, which no run could notice"
            )
            self.figures[f"hidden by a crash in {self._crashed_in}"] += len(hidden)
        end = self._process("audit", target, {}, None)
        if end.kind != "done":
            self._finding(f"the audit did not heal: {end.told}")
        else:
            self.figures["healed by audits"] += end.told[0]["healed"]
        self._crashed = False

    def _check(self, target: State) -> None:
        index = self._index(target)
        with self._open(target) as store:
            for problem in wrong_at_the_end(store, index, target):
                self._finding(problem)
        self.figures["checks"] += 1
        if hasattr(self, "_reader"):
            self._watch(Watch([target]))

    def _between(self, end: End, states: list[State], shared: bool) -> None:
        """Right after a death, before anything repairs: what readers would see."""
        with self._open(states[-1]) as store:
            chunks, problems = seen_in(store)
        for problem in (*problems, wrong_with(chunks, Watch(states, shared))):
            if problem:
                self._finding(f"after the death ({end.phase}): {problem}")

    def _care(self, kind: str, death: Death) -> None:
        state, version = self._source, None
        if kind == "rollback":
            with self._open(state) as store:
                live = store.live()
                older = [
                    known.name
                    for known in store.versions()
                    if live
                    and known.state == "built"
                    and known.number < live.number
                    # Not what a killed run has finished and nobody looked over.
                    and known.name in self._states
                ]
            if not older:
                return
            version = older[0]
            self._watch(Watch([self._shown, self._states[version]]))
        for struck in (death, None):
            end = self._process(kind, state, {}, struck, version=version)
            self._event(f"{kind} {version or ''}: {end}")
            if self._crashed:
                self._process("audit", state, {}, None)
                self._crashed = False
            if end.kind == "done":
                break
        if end.kind == "failed" and end.told[0] == "IndexDamaged" and self.server:
            self.figures["refused rollbacks"] += 1  # to a version that a crash has damaged
        elif end.kind != "done":
            self._finding(f"{kind} failed: {end.told}")
        if version and end.kind == "done":
            self._shown = self._states[version]
        self._check(self._shown)

    # --- processes ---

    def _run(self, target: State, way: str, death: Death | None, commits: bool, short: bool = False) -> End:
        options: dict[str, Any] = {"activate": way != "held back"}
        if way == "rebuild":
            options["mode"] = "rebuild"
        golden = way == "gate"
        return self._process("index", target, options, death, commits=commits, golden=golden, short=short)

    def _process(
        self,
        do: str,
        state: State,
        options: dict[str, Any],
        death: Death | None,
        *,
        version: str | None = None,
        commits: bool = False,
        golden: bool = False,
        short: bool = False,
    ) -> End:
        queries = [(doc.paragraphs[0], key) for key, doc in list(state.documents.items())[:8] if golden]
        job = Job(
            do,
            self._index(state).to_json(),
            {} if self.backend == "lancedb" else self.place,
            f"holder{self._holder}",
            state.records() if do == "index" else [],
            options,
            queries,
            version,
            death,
            self.server is not None,
            short,
            commits,
            self.sabotage,
        )
        reached = FORKS.Value("i", 0, lock=False)
        ours, theirs = FORKS.Pipe()
        process = FORKS.Process(target=work, args=(job, reached, theirs))
        began = time.monotonic()
        process.start()
        theirs.close()
        moment = death.share * self._usual if death and death.phase is None else None
        end = self._accompany(process, ours, reached, moment)
        if end.kind == "done" and death is None and do == "index":
            self._usual = time.monotonic() - began
        return end

    def _accompany(self, process: Any, pipe: Any, reached: Any, moment: float | None) -> End:
        phases = list(PHASES)
        struck = ""
        until = time.monotonic() + _PATIENCE
        if moment is not None and not pipe.poll(moment):
            struck = phases[reached.value]
            if self.server is None:
                process.kill()
            else:
                self._crash(struck)
        told: tuple[Any, ...] = ()
        while not told and pipe.poll(max(0.0, until - time.monotonic())):
            try:
                told = pipe.recv()
            except EOFError:
                break
            if told == ("hit",):
                struck, told = phases[reached.value], ()
                self._crash(struck)
        if not told and process.is_alive() and time.monotonic() > until:
            process.kill()
            self._finding(f"a run did not end in {_PATIENCE:.0f} s, in {phases[reached.value]}")
        process.join()
        pipe.close()
        if told:
            return End(told[0], told[1:], struck)
        phase = struck or phases[reached.value]
        if process.exitcode != -signal.SIGKILL:
            self._finding(f"a worker ended with {process.exitcode} in {phase}")
            return End("failed", (str(process.exitcode), "see its traceback"), phase)
        self.figures["kills"] += 1
        self.figures[f"in {phase}"] += 1
        self._event(f"killed in {phase}")
        return End("killed", (), phase)

    def _crash(self, phase: str) -> None:
        assert self.server is not None
        self.figures["kills"] += 1
        self.figures[f"in {phase}"] += 1
        self._event(f"server killed in {phase}")
        self._crashed_in = phase
        watch = self._watching
        self._crashed = True
        if watch is not None:
            # Told before the server is gone, so that no miss counts wrongly.
            self._watch(replace(watch, crashed=True))
        self.server.kill()
        self.server.launch()

    # --- helpers ---

    _watching: Watch | None = None

    def _watch(self, watch: Watch) -> None:
        self._watching = watch
        self._reader.send(watch)
        self._reader.recv()

    def _index(self, state: State) -> VectorIndex:
        place = (
            {"backend": "lancedb", "uri": self.place["uri"]}
            if self.backend == "lancedb"
            else {"backend": "weaviate", "conn_id": "w"}
        )
        return declared(self.name, state.variant, place)

    def _open(self, state: State) -> Any:
        index = self._index(state)
        info = ConnectionInfo("w", **({} if self.backend == "lancedb" else self.place))
        return open_store(
            index.backend, index.name, conn_id=index.connection, uri=index.uri, connections=lambda _: info
        )

    def _change(self, state: State, change: str) -> State:
        self._revision += 1
        return changed(state, change, self._revision, self._chance)

    def _event(self, text: str) -> None:
        self.events.append(text)

    def _finding(self, text: str) -> None:
        self.findings.append(text)
        self._tell(f"{self.backend} seed {self.seed}: {text}")
