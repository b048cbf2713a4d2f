"""The ledger against plain dictionaries, and on a disk that is full."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.ledger import Ledger

STATES = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("xyz"))


def chunk(name: str, digest: str, doc: str | None = None) -> Chunk:
    return Chunk(name, doc or f"doc-{name}", 0, digest, name, {}, None)


@given(wanted=STATES, existing=STATES)
def test_carrying_out_a_plan_gives_what_was_wanted(wanted: dict[str, str], existing: dict[str, str]) -> None:
    with Ledger() as ledger:
        for name, digest in wanted.items():
            assert ledger.add([[chunk(name, digest)]]) == [True]
        holding = ledger.hold((name, f"doc-{name}", digest) for name, digest in existing.items())
        plan = holding.plan()
        assert plan.empty == (wanted == existing)
        ledger.schedule(holding)
        claims = {name: ledger.claim(chunk(name, digest)) for name, digest in wanted.items()}
        written = {name: wanted[name] for name, lacking in claims.items() if lacking is not None}
        assert all(
            lacking == (name not in existing) for name, lacking in claims.items() if lacking is not None
        )
        assert (ledger.unclaimed(), list(ledger.ids(claimed_only=True))) == (0, sorted(written))
        stale = list(holding.stale())
        assert (plan.writes, plan.deleted, plan.unchanged) == (
            len(written),
            len(stale),
            len(wanted) - len(written),
        )
        assert plan.added == sum(lacking is True for lacking in claims.values())
        result = {name: digest for name, digest in {**existing, **written}.items() if name not in stale}
        assert result == wanted
        gone = existing.keys() - wanted.keys()
        assert holding.gone() == (len(gone), len(existing), f"doc-{min(gone)}" if gone else "")
        assert [name in holding for name in "abcdefgh"] == [name in existing for name in "abcdefgh"]


def test_repeated_document_key_is_told_and_not_noted() -> None:
    with Ledger() as ledger:
        first, again = [chunk("a", "x", "doc"), chunk("b", "x", "doc")], [chunk("c", "x", "doc")]
        others = [chunk("d", "x", "other")], [chunk("e", "x", "another")]
        assert ledger.add([first, others[0], again]) == [True, True, False]
        assert ledger.add([again, others[1]]) == [False, True]
        assert (ledger.documents, ledger.chunks, list(ledger.ids())) == (3, 4, ["a", "b", "d", "e"])


def test_chunk_is_claimed_once_and_only_in_the_state_that_was_surveyed() -> None:
    with Ledger() as ledger:
        ledger.add([[chunk("a", "x")], [chunk("b", "x")]])
        ledger.schedule(ledger.hold([("b", "doc-a", "x")]))
        assert [ledger.awaits(key) for key in ("doc-a", "doc-b")] == [True, False]
        assert ledger.claim(chunk("a", "other")) is None
        assert ledger.unclaimed() == 1
        assert [ledger.claim(chunk("a", "x")) for _ in range(2)] == [True, None]
        assert ledger.claim(chunk("b", "x")) is None
        assert ledger.claim(chunk("unknown", "x")) is None


def test_chunk_that_is_held_twice_counts_as_lacking() -> None:
    with Ledger() as ledger:
        ledger.add([[chunk("a", "x")], [chunk("b", "x")]])
        holding = ledger.hold([("a", "d", "x"), ("b", "d", "x"), ("a", "d", "x")])
        plan = holding.plan()
        assert (plan.added, plan.updated, plan.deleted, plan.unchanged) == (1, 0, 0, 1)
        assert (list(holding.repeated()), "a" in holding) == (["a"], False)
        ledger.schedule(holding)
        assert ledger.claim(chunk("a", "x")) is True


FILL = """
import resource, sys, tempfile, os
from airflow_provider_mlops.vector.documents import Chunk
from airflow_provider_mlops.vector.errors import ScratchSpaceExhausted
from airflow_provider_mlops.vector.ledger import Ledger
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))
chunks = [Chunk(f"{number * 7919 % 1_000_003:036d}", "doc", 0, "d" * 32, "", {}, None) for number in range(800_000)]
try:
    with Ledger() as ledger:
        for number in range(0, len(chunks), 100):
            part = chunks[number:number + 100]
            ledger.add([[Chunk(c.id, str(number), 0, c.digest, "", {}, None) for c in part]])
except ScratchSpaceExhausted as error:
    print(type(error).__name__, error)
"""


def test_full_temporary_folder_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("ScratchSpaceExhausted The worker's temporary folder"), done.stderr
