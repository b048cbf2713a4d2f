"""The command tree. A command is a module with ``add_parser``; its work is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from airflow_provider_mlops.cli import image, release, testing
from airflow_provider_mlops.errors import MlopsError

COMMANDS = (image, release, testing)


def build_parser(prog: str) -> argparse.ArgumentParser:
    """Parser of all commands; ``args.run`` is the function of the chosen one."""
    parser = argparse.ArgumentParser(prog=prog, description="Releases, images and test stand-ins.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str], prog: str = "python -m airflow_provider_mlops") -> int:
    """Run one command; a typed error is printed as one line.

    :return: exit status: 0 done, 1 refused or failed for a named reason, 2 usage.
    """
    args = build_parser(prog).parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except MlopsError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
