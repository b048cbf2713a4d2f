"""Safeguards that can be taken away, to show that the campaign notices."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.vector import indexing, sync
from airflow_provider_mlops.vector.stores.lance_table import LanceBuild


def sabotage(name: str) -> None:
    """Take one safeguard away, in this process."""
    {"no healing": _no_healing, "deletes first": _deletes_first, "live too early": _live_too_early}[name]()


SABOTAGES = ("no healing", "deletes first", "live too early")


def _no_healing() -> None:
    indexing.heal = lambda *_: 0


def _deletes_first() -> None:
    original = sync.write

    def write(chunks: Any, ledger: Any, before: Any, build: Any, *args: Any) -> None:
        build.delete(list(before.stale()))
        original(chunks, ledger, before, build, *args)

    indexing.write = write


def _live_too_early() -> None:
    write, seal = indexing._Run._write, LanceBuild.seal

    def early(run: Any, build: Any, held: Any) -> int:
        build.seal()
        if run.options.activate:
            run.store.activate(build.version.name)
        return write(run, build, held)

    def seal_again(build: Any) -> None:
        try:
            seal(build)
        except MlopsError:
            for tag in ("live", build.version.name):
                build._table.tags.update(tag, build._table.version)

    indexing._Run._write, LanceBuild.seal = early, seal_again  # type: ignore[method-assign]
