"""``airflow mlops ...`` (Airflow 3.3 and later; before, use ``python -m airflow_provider_mlops``)."""

from __future__ import annotations

import argparse
from typing import Any


def _run(args: Any) -> None:
    from airflow_provider_mlops.cli.main import main

    raise SystemExit(main(args.words, prog="airflow mlops"))


def get_provider_cli_commands() -> list[Any]:
    """Called by Airflow's CLI through the provider info; hands all words on to our own parser."""
    from airflow.cli.cli_config import ActionCommand, Arg

    return [
        ActionCommand(
            name="mlops",
            help="Releases, images and test stand-ins of airflow-provider-mlops",
            func=_run,
            args=(Arg(("words",), nargs=argparse.REMAINDER, help="command and its options; try: release list"),),
        )
    ]
