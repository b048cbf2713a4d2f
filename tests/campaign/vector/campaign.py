"""Kill workers, and servers, at random moments; look whether anything is lost, doubled, hidden, or missed by a reader."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector.verify import heal
from tests.campaign.vector.worker import BUSY
from tests.campaign.vector.world import SIZES, World
from tests.servers.weaviate import Weaviate

#: Kinds of runs, in turn: mode, activate, gated. The last one also cuts the documents anew.
KINDS: dict[str, tuple[str, bool, bool]] = {
    "sync": ("auto", True, False),
    "sync with gate": ("auto", True, True),
    "sync, activated later": ("auto", False, False),
    "rebuild": ("rebuild", True, False),
    "other chunks": ("auto", True, False),
}
_LEASE_SECONDS = 4.0
_PATIENCE = 180.0


class Campaign:
    """Kills in one store, one after the other.

    :param sabotaged: the workers have lost their safeguards: the campaign has to find something.
    """

    def __init__(
        self, world: World, seed: int, *, server: Weaviate | None = None, sabotaged: bool = False
    ) -> None:
        self._world, self._server, self._sabotaged = world, server, sabotaged
        self._chance = random.Random(seed)
        self._seed = seed
        self._generation = 0
        self._kind = "sync"
        self._moments = dict.fromkeys(KINDS, 60)
        self._outages: list[tuple[float, float]] = []
        self.findings: list[str] = []
        self.tally: Counter[str] = Counter()

    # --- processes ---------------------------------------------------------------------------------

    def _start(
        self, *, moment: int | None = None, holder: str = "task", slow: float = 0.0
    ) -> subprocess.Popen[str]:
        mode, activate, gated = KINDS[self._kind]
        told = {
            "index": self._world.index.to_json(),
            "connection": self._world.connection,
            "generation": self._generation,
            "mode": mode,
            "activate": activate,
            "gated": gated,
            "moment": moment,
            "holder": holder,
            "lease_seconds": _LEASE_SECONDS,
            "sabotaged": self._sabotaged,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.vector.worker", json.dumps(told)],
            env={**os.environ, "SECONDS_PER_BATCH": str(slow)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()  # it is about to run
        return process

    def _run(self, **options: Any) -> tuple[int, str, str]:
        process = self._start(**options)
        out, err = process.communicate(timeout=_PATIENCE)
        return process.returncode, out, err

    @contextmanager
    def _reader(self) -> Iterator[None]:
        told = {"index": self._world.index.to_json(), "connection": self._world.connection}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.vector.reader", json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield
        finally:
            out, _ = process.communicate("", timeout=_PATIENCE)
            self._judge_reader([json.loads(line) for line in out.splitlines()], process.returncode)

    def _judge_reader(self, told: list[dict[str, Any]], code: int) -> None:
        if code or not told or "searches" not in told[-1]:
            self._find("the reader died")
            return
        self.tally["searches of readers"] += told[-1]["searches"]
        for event in told[:-1]:
            down = any(begin - 1 <= event["at"] <= end for begin, end in self._outages)
            if "miss" in event or not down:
                self._find(f"a reader met {event}")

    # --- what must hold ------------------------------------------------------------------------------

    def _find(self, finding: str) -> None:
        self.findings.append(
            f"{self._world.index.backend}, seed {self._seed}, kill {self.tally['kills']}, {self._kind}: {finding}"
        )
        print("FOUND", self.findings[-1], file=sys.stderr, flush=True)

    def _check_live_is_complete(self) -> None:
        """At any moment: what is live is finished."""
        with self._world.store() as store:
            live = store.live()
            states = {version.name: version.state for version in store.versions()}
            if live is None or states.get(live.name) != "built":
                self._find(f"live is {live}, of {states}")

    def _check_whole(self) -> None:
        """After a run that ended well: everything is there, once, found by its own vector, and nothing is left over."""
        with self._world.store() as store:
            newest = store.versions()[0]
            if not KINDS[self._kind][1]:
                store.activate(newest.name)
            live = store.live()
            if live is None:
                self._find("nothing is live")
                return
            snapshot = store.read(live.name)
            ids = [chunk for chunk, _, _ in snapshot.scan()]
            rows = snapshot.rows(ids).values()
            held = sorted((row.doc, row.ordinal, row.text, row.properties["year"]) for row in rows)
            wanted = self._world.expected(self._generation)
            if len(ids) != len(set(ids)):
                self._find(f"{len(ids) - len(set(ids))} chunks are there twice")
            if lost := Counter(wanted) - Counter(held):
                self._find(f"{len(lost)} chunks are lost, as {next(iter(lost))}")
            if left := Counter(held) - Counter(wanted):
                self._find(f"{len(left)} chunks are left over, as {next(iter(left))}")
            if hidden := snapshot.unfindable(ids):
                self._find(f"{len(hidden)} chunks are not found by their own vector")
            if problems := snapshot.layout_problems(self._world.index.layout()):
                self._find(f"layout: {problems}")
            versions = store.versions()
            if len(versions) > self._world.index.keep_versions + 1:
                self._find(f"versions pile up: {[version.name for version in versions]}")
            with store.lease("looks whether it is free") as lease:
                if lease.unclean:
                    self._find("a run ended well, and the index counts as unclean")
        self.tally["versions looked over"] += 1
        self.tally["chunks looked over"] += len(ids)

    # --- the play -------------------------------------------------------------------------------------

    def play(self, kills: int, server_kills: int = 0) -> None:
        """Build an index, then go from generation to generation, with a kill in each."""
        code, _, err = self._run()
        if code:
            self._find(f"the first run ended with {code}: {err[-500:]}")
            return
        self._check_whole()
        with self._reader():
            number = 0
            while self.tally["kills"] < kills:
                self._next(number)
                self._kill_worker()
                number += 1
            for number in range(server_kills):
                self._next(number)
                self._kill_server()

    def _next(self, number: int) -> None:
        self._generation += 1
        self._kind = list(KINDS)[number % len(KINDS)]
        if self._kind == "other chunks":
            size = self._world.index.chunker.max_size  # type: ignore[attr-defined]
            self._world = self._world.cut(SIZES[SIZES.index(size) - 1])

    def _kill_worker(self) -> None:
        if self._chance.random() < 0.75:
            code, out, err = self._run(moment=self._chance.randrange(1, self._moments[self._kind] + 1))
        else:
            process = self._start(slow=0.1)
            time.sleep(self._chance.uniform(0.0, 2.0))
            process.kill()
            out, err = process.communicate()
            code = process.returncode
        self.tally["kills"] += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            self._find(f"a run that was to be killed ended with {code}: {err[-500:]}")
        self._check_live_is_complete()
        if self._chance.random() < 0.3:
            self._generation += 1  # the source does not wait
        self._recover(out, killed=code != 0)

    def _recover(self, out: str, *, killed: bool) -> None:
        holder = "task" if not killed or self._chance.random() < 0.7 else "another task"
        deadline = time.monotonic() + _LEASE_SECONDS + _PATIENCE
        while True:
            code, out, err = self._run(holder=holder)
            if code != BUSY or holder == "task" or time.monotonic() > deadline:
                break
            self.tally["met a lease"] += 1
            time.sleep(_LEASE_SECONDS / 2)
        if code:
            self._find(f"the run after the kill ended with {code}: {err[-500:]}")
            return
        self._moments[self._kind] = max(20, int(out.split()[-1]))
        self._check_whole()

    def _kill_server(self) -> None:
        assert self._server is not None
        process = self._start(slow=0.15)
        time.sleep(self._chance.uniform(0.0, 2.5))
        begin = time.time()
        self._server.kill()
        self._server.launch()
        self._outages.append((begin, time.time() + 15))
        self.tally["kills of the server"] += 1
        _, err = process.communicate(timeout=_PATIENCE)
        self.tally["runs that survived the server"] += process.returncode == 0
        if process.returncode < 0:
            self._find(f"the run died of {process.returncode}: {err[-500:]}")
        if process.returncode:
            code, _, err = self._run()
            if code:
                self._find(f"the run after the server's crash ended with {code}: {err[-500:]}")
                return
        self._audit()
        self._check_whole()

    def _audit(self) -> None:
        """What a crash took that no run was there to notice, or that older runs wrote, is found and mended by an audit."""
        with self._world.store() as store:
            target = store.live() if KINDS[self._kind][1] else store.versions()[0]
            assert target is not None
            build = store.resume(target.name)
            ids = [chunk for chunk, _, _ in build.scan()]
            with store.lease("audit") as lease:
                lease.writing()
                try:
                    self.tally["chunks that an audit healed"] += heal(build, ids, lease)
                except MlopsError as error:
                    self._find(f"the audit failed: {error}")


def play(
    backends: list[str],
    kills: int,
    server_kills: int,
    *,
    seed: int = 0,
    sabotaged: bool = False,
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Play the campaign in each store; what was done by store, and what was found."""
    tallies: dict[str, Counter[str]] = {}
    findings: list[str] = []
    for backend in backends:
        with ExitStack() as stack:
            server, connection, uri = None, {}, None
            if backend == "weaviate":
                server = stack.enter_context(Weaviate())
                ports = server.ports
                connection = {
                    "host": server.host,
                    "port": ports["http"],
                    "extra": {"grpc_port": ports["grpc"]},
                }
            else:
                uri = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "lance")
            campaign = Campaign(
                World.of(backend, "Docs", connection, uri), seed, server=server, sabotaged=sabotaged
            )
            campaign.play(kills, server_kills if server else 0)
        tallies[backend] = campaign.tally
        findings += campaign.findings
    return tallies, findings


def table(tallies: dict[str, Counter[str]], findings: list[str]) -> str:
    """What was done, for people."""
    lines = [
        f"{backend:10} {count:>8,} {name}"
        for backend, tally in tallies.items()
        for name, count in tally.items()
    ]
    return "\n".join([*lines, f"{len(findings)} findings", *findings])
