"""The process that is killed: one run of the index, which may die by itself at its n-th call of the store.

``python -m tests.campaign.vector.worker '{...}'``; prints ``go`` when the run begins, and how many calls it made at its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector import Gate, Records, VectorIndex, indexing
from airflow_provider_mlops.vector.embedding import RowMaker
from airflow_provider_mlops.vector.errors import IndexBusy
from airflow_provider_mlops.vector.gate import GoldenQuery
from airflow_provider_mlops.vector.stores import lance_lease, weaviate_registry
from airflow_provider_mlops.vector.stores.lance import LanceBuild
from airflow_provider_mlops.vector.stores.weaviate import WeaviateBuild
from tests.campaign.vector.world import EMBEDDER, STEADY, World, documents

#: Exit codes: another run holds the index; another expected failure.
BUSY, FAILED = 3, 4


def embed(texts: list[str]) -> Any:
    time.sleep(float(os.environ.get("SECONDS_PER_BATCH", "0")))
    return EMBEDDER.embed(texts)


class Fuse:
    """Counts the calls, before and after each, and kills the process at one of these moments."""

    def __init__(self, moment: int | None) -> None:
        self.moments, self._last = 0, moment

    def tick(self) -> None:
        self.moments += 1
        if self.moments == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class Wired:
    """A store, build or lease whose calls burn the fuse."""

    def __init__(self, target: Any, fuse: Fuse) -> None:
        self._target, self._fuse = target, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value
        return self._lease if name == "lease" else self._call(name, value)

    def _call(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def wired(*args: Any, **kwargs: Any) -> Any:
            self._fuse.tick()
            result = method(*args, **kwargs)
            self._fuse.tick()
            return Wired(result, self._fuse) if name in ("begin", "resume", "read") else result

        return wired

    @contextmanager
    def _lease(self, holder: str) -> Iterator[Any]:
        self._fuse.tick()
        with self._target.lease(holder) as lease:
            self._fuse.tick()
            yield Wired(lease, self._fuse)
            self._fuse.tick()
        self._fuse.tick()


def sabotage() -> None:
    """Lose a row of every write, and look no more whether all are there: what the campaign has to find."""
    for build in (LanceBuild, WeaviateBuild):
        upsert = build.upsert
        build.upsert = lambda self, rows, upsert=upsert, **more: upsert(self, rows[1:], **more)  # type: ignore[method-assign, assignment]
    indexing.check_contents = lambda *_: None
    indexing.heal = lambda *_: 0


def main() -> int:
    told = json.loads(sys.argv[1])
    for module in (lance_lease, weaviate_registry):
        module.LEASE_SECONDS = told["lease_seconds"]  # type: ignore[attr-defined]
    if told["sabotaged"]:
        sabotage()
    world = World(VectorIndex.from_json(told["index"]), told["connection"])
    docs = documents(told["generation"])
    golden = [GoldenQuery(doc["text"], frozenset([doc["id"]])) for doc in docs[:STEADY]]
    gate = (Gate("golden.jsonl", min_recall=0.5, k=5), golden) if told["gated"] else None
    options = indexing.RunOptions(
        told["mode"], told["activate"], gate, batch_size=50, max_delete_fraction=0.5
    )
    fuse = Fuse(told["moment"])
    with world.store() as store:
        print("go", flush=True)
        try:
            indexing.run(
                world.index,
                Records(lambda: docs),
                Wired(store, fuse),  # type: ignore[arg-type]
                RowMaker(world.index.embedder),
                options,
                holder=told["holder"],
                on_bad=print,
            )
        except IndexBusy as error:
            print(error, file=sys.stderr)
            return BUSY
        except MlopsError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return FAILED
    print(fuse.moments, flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Threads of older LanceDBs may meet an interpreter that is going down.
    os._exit(code)
