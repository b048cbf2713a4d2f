"""``release list|show``: look at releases from a shell."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser("release", help="look at releases")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (
        ("list", "releases of a service, newest first"),
        ("show", "one release record as JSON"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("service")
        if name == "show":
            action.add_argument("release_id", nargs="?", default="current")
        action.add_argument("--channel", default="production")
        action.add_argument("--ledger", help="URI of the release ledger (default: below [mlops] artifacts)")
        action.set_defaults(run=_look)


def _look(args: argparse.Namespace) -> int:
    from airflow_provider_mlops.release.ledger import ReleaseLedger
    from airflow_provider_mlops.release.look import list_releases, show_release

    ledger = ReleaseLedger(_root(args.ledger), args.service, args.channel)
    if args.action == "show":
        print(show_release(ledger, args.release_id))
        return 0
    lines = list(list_releases(ledger))
    print("\n".join(lines) if lines else f"{args.service} has no release in channel {args.channel}")
    return 0


def _root(uri: str | None) -> Any:
    from airflow_provider_mlops.release.files import local_path

    # A file:// ledger is read without Airflow, which takes seconds to import.
    if uri is not None and (path := local_path(uri)) is not None:
        return path
    from airflow_provider_mlops.release.operators import ledger_root

    return ledger_root(uri)
