"""Pytest side of the servers: session fixtures, the ``server`` marker, and a summary at the end.

A server that this machine does not have skips the test, unless ``MLOPS_REQUIRE_SERVERS=1``: then it fails.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator

import pytest

from tests.servers.catalogue import PROGRAMS
from tests.servers.mlflow import Mlflow
from tests.servers.postgres import Postgres
from tests.servers.registry import Registry
from tests.servers.weaviate import Weaviate

REQUIRE = "MLOPS_REQUIRE_SERVERS"

_exercised: pytest.StashKey[Counter[str]] = pytest.StashKey()
_missed: pytest.StashKey[Counter[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[Mlflow]:
    """A running :class:`~tests.servers.mlflow.Mlflow`, shared by the whole run."""
    with Mlflow() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running :class:`~tests.servers.postgres.Postgres`, shared by the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def registry_server() -> Iterator[Registry]:
    """A running :class:`~tests.servers.registry.Registry`, shared by the whole run."""
    with Registry() as server:
        yield server


@pytest.fixture(scope="session")
def weaviate_server() -> Iterator[Weaviate]:
    """A running :class:`~tests.servers.weaviate.Weaviate`, shared by the whole run."""
    with Weaviate() as server:
        yield server


def servers_of(item: pytest.Item) -> set[str]:
    """The servers that a test needs: by fixture, or by marker."""
    names = {name for name in PROGRAMS if f"{name}_server" in getattr(item, "fixturenames", ())}
    for marker in item.iter_markers("server"):
        names.update(marker.args)
    unknown = names - PROGRAMS.keys()
    if unknown:
        raise pytest.UsageError(f"{item.nodeid} asks for unknown servers: {', '.join(sorted(unknown))}")
    return names


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_exercised] = Counter()
    config.stash[_missed] = Counter()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in sorted(servers_of(item)):
        reason = PROGRAMS[name].missing()
        if reason is None:
            continue
        item.config.stash[_missed][name] += 1
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"server {name} is required here: {reason}", pytrace=False)
        pytest.skip(f"server {name} is not available: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    item.config.stash[_exercised].update(servers_of(item))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    exercised, missed = config.stash[_exercised], config.stash[_missed]
    parts = [
        f"{name} {PROGRAMS[name].version()} exercised by {_tests(exercised[name])}"
        for name in sorted(exercised)
    ]
    verb = "failed" if os.environ.get(REQUIRE) == "1" else "skipped"
    parts += [
        f"{name} not available: {PROGRAMS[name].missing()} ({_tests(missed[name])} {verb})"
        for name in sorted(missed)
    ]
    if parts:
        terminalreporter.write_line(f"Real servers: {'; '.join(parts)}")


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"
