"""What keeping an index in step costs: nothing changed, and one document in a hundred changed.

    python benchmarks/vector_sync.py [--documents 100000] [--backends lancedb weaviate] [--runs 2] [--json FILE]

JSON Lines with texts of 300 characters, one chunk each, the deterministic hash embedder with 64 dimensions.
Each step is a whole run in a process of its own: read the source, ask the store for all ids and hashes, compare,
write, verify. The best of the runs counts where nothing changes; Weaviate is left out where the tests' server
is missing (``make servers``).
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _report import Figure, arguments, child, finish, in_child, measured

ROOT = Path(__file__).parent.parent
WORDS = [
    f"{first}{second}"
    for first in ("am", "bor", "cel", "dun", "esk")
    for second in ("ber", "ka", "lin", "to")
]
SHARE_CHANGED = 0.01


def write_source(path: Path, count: int, *, changed: int) -> None:
    """The documents; the first ``changed`` ones have other texts than otherwise."""
    chance = random.Random(1)
    with path.open("w") as file:
        for number in range(count):
            words = " ".join(chance.choices(WORDS, k=45))
            text = f"{'revised' if number < changed else 'original'} page{number} {words}"
            file.write(json.dumps({"id": f"docs/{number}", "text": text, "year": 2000 + number % 30}) + "\n")


def sync(source: str, backend: str, connection: dict[str, Any], uri: str | None) -> dict[str, float]:
    """One run."""
    from airflow_provider_mlops.connection import ConnectionInfo
    from airflow_provider_mlops.vector import HashEmbedder, VectorIndex
    from airflow_provider_mlops.vector.embedding import RowMaker
    from airflow_provider_mlops.vector.indexing import RunOptions, run
    from airflow_provider_mlops.vector.sources import Files, find_files
    from airflow_provider_mlops.vector.stores import open_store

    index = VectorIndex(
        "Sync",
        embedder=HashEmbedder(64),
        properties={"year": "int"},
        backend=backend,  # type: ignore[arg-type]
        conn_id="w" if connection else None,
        uri=uri,
    )
    maker = RowMaker(index.embedder)
    with (
        open_store(
            backend, "Sync", conn_id=index.conn_id, uri=uri, connections=lambda name: ConnectionInfo("w", **connection)
        ) as store,
        measured() as result,
    ):  # fmt: skip
        outcome = run(
            index, Files(find_files(source, Path)), store, maker, RunOptions(), holder="h", on_bad=print
        )  # fmt: skip
    result["embedded"] = maker.embedded
    result["chunks"] = outcome.survey.chunks
    return result


def figures_of(
    backend: str, count: int, runs: int, scratch: Path, connection: dict[str, Any]
) -> list[Figure]:
    """Build once, sync without changes, then with some."""
    settings = {
        "backend": backend, "connection": connection,
        "uri": None if connection else str(scratch / "lance"),
    }  # fmt: skip
    before, after = str(scratch / "before.jsonl"), str(scratch / "after.jsonl")
    built = in_child("sync", {**settings, "source": before})
    unchanged = [in_child("sync", {**settings, "source": before}) for _ in range(runs)]
    assert all(result["embedded"] == 0 for result in unchanged)
    changed = in_child("sync", {**settings, "source": after})
    best = min(unchanged, key=lambda result: result["wall"])
    return [
        Figure(f"{backend}: first build of {count:,} documents", built["wall"], "s"),
        Figure(f"{backend}: unchanged sync of {count:,} documents", best["wall"], "s", "<= 5"),
        Figure(f"{backend}: unchanged sync, client CPU", best["cpu"], "s CPU"),
        Figure(f"{backend}: unchanged sync, memory growth", best["memory"], "MB"),
        Figure(f"{backend}: {SHARE_CHANGED:.0%} changed, time", changed["wall"], "s"),
        Figure(
            f"{backend}: {SHARE_CHANGED:.0%} changed, embedded of all",
            changed["embedded"] / changed["chunks"] * 100, "%", "<= 1.05",
        ),
    ]  # fmt: skip


def report(count: int, runs: int, backends: list[str]) -> list[Figure]:
    figures = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_source(scratch / "before.jsonl", count, changed=0)
        write_source(scratch / "after.jsonl", count, changed=int(count * SHARE_CHANGED))
        if "lancedb" in backends:
            figures += figures_of("lancedb", count, runs, scratch, {})
        if "weaviate" in backends:
            sys.path.insert(0, str(ROOT))
            from tests.servers.weaviate import Weaviate

            if reason := Weaviate.missing():
                print(f"No Weaviate ({reason}): its figures are left out", file=sys.stderr)
            else:
                server = stack.enter_context(Weaviate())
                ports = server.ports
                connection = {
                    "host": server.host,
                    "port": ports["http"],
                    "extra": {"grpc_port": ports["grpc"]},
                }
                figures += figures_of("weaviate", count, runs, scratch, connection)
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="documents (default: 100000)")
    parser.add_argument(
        "--backends", nargs="+", default=["lancedb", "weaviate"], choices=["lancedb", "weaviate"]
    )
    parser.add_argument("--runs", type=int, default=2, help="syncs without changes (default: 2)")
    args = parser.parse_args()
    if args.child:
        child({"sync": sync}, args.child)
        return
    finish("vector_sync", report(args.documents, args.runs, args.backends), args.json)


if __name__ == "__main__":
    main()
