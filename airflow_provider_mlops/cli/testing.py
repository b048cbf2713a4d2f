"""``testing gitlab``: start a stand-in server by hand."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser("testing", help="stand-ins for systems that cannot run in a test")
    servers = parser.add_subparsers(dest="server", required=True, metavar="SERVER")
    gitlab = servers.add_parser("gitlab", help="a GitLab that really runs .gitlab-ci.yml")
    gitlab.add_argument("--port", type=int, default=0, help="0 picks a free one")
    gitlab.add_argument("--root", required=True, help="folder for repositories, job folders and artifacts")
    gitlab.add_argument("--project", default="mlops/demo", help="full path of its first project")
    gitlab.set_defaults(run=_gitlab)


def _gitlab(args: argparse.Namespace) -> int:
    from airflow_provider_mlops.testing.gitlab import serve

    return serve(port=args.port, root=args.root, project=args.project)
