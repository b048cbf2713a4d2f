"""``release list|show|rollback``: look at releases and put one back, from a shell."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("release", help="look at releases")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (("list", "releases of a service, newest first"), ("show", "one release record as JSON")):
        action = actions.add_parser(name, help=words)
        action.add_argument("service")
        if name == "show":
            action.add_argument("release_id", nargs="?", default="current")
        action.add_argument("--channel", default="production")
        action.add_argument("--ledger", help="URI of the release ledger (default: below [mlops] artifacts)")
        action.set_defaults(run=_look)


def _look(args: argparse.Namespace) -> int:
    from airflow_provider_mlops.release.look import look

    return look(args)
