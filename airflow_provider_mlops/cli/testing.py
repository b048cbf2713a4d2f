"""``testing gitlab``: start a stand-in server by hand."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser("testing", help="stand-ins for systems that cannot run in a test")
    servers = parser.add_subparsers(dest="server", required=True, metavar="SERVER")
    gitlab = servers.add_parser("gitlab", help="a GitLab that really runs .gitlab-ci.yml")
    gitlab.add_argument("--port", type=int, default=0, help="0 picks a free one")
    gitlab.add_argument("--root", required=True, help="folder for repositories, job folders and artifacts")
    gitlab.add_argument("--project", default="mlops/demo", help="full path of its first project")
    gitlab.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="how it behaves, for instance trace_windows=false; may be given several times",
    )
    gitlab.set_defaults(run=_gitlab, parser=gitlab)


def _gitlab(args: argparse.Namespace) -> int:
    from airflow_provider_mlops.testing.gitlab import Knobs, serve

    knobs = Knobs()
    for entry in args.knob:
        name, _, text = entry.partition("=")
        try:
            knobs.set(**{name: _value(text)})
        except (AttributeError, TypeError) as error:
            args.parser.error(f"--knob {entry}: {error}")
    return serve(port=args.port, root=args.root, project=args.project, knobs=knobs)


def _value(text: str) -> Any:
    """A JSON value (``Infinity`` is one for Python), or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
