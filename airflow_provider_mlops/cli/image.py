"""``image publish``: what a CI job runs after it has tried a Bento out."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser("image", help="publish and inspect images")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    publish = actions.add_parser("publish", help="put a Bento into a registry or an OCI layout folder")
    publish.add_argument("--bento", required=True, help="archive (.tar) of the Bento")
    publish.add_argument(
        "--repository", required=True, help="registry.example.com/ml/search, or file:///folder/search"
    )
    publish.add_argument("--result", help="file that receives the image as JSON")
    publish.set_defaults(run=_publish)


def _publish(args: argparse.Namespace) -> int:
    from airflow_provider_mlops.oci.publish import publish_from_command_line

    print(json.dumps(publish_from_command_line(args.bento, args.repository, args.result), indent=2))
    return 0
