"""``airflow mlops ...`` (Airflow 3.3 and later; before, use ``python -m airflow_provider_mlops``)."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.compat import cli_command


def _run(args: Any) -> None:
    from airflow_provider_mlops.cli.main import main

    raise SystemExit(main(args.words, prog="airflow mlops"))


def get_provider_cli_commands() -> list[Any]:
    """Called by Airflow's CLI through the provider info; hands all words on to our own parser."""
    return [cli_command("mlops", "Releases, images and test stand-ins of airflow-provider-mlops", _run)]
