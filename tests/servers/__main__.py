"""``python -m tests.servers build [NAME...] | start NAME | list``."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading

from tests.servers.catalogue import PROGRAMS, SERVERS
from tests.servers.install import CannotInstall


def build(names: list[str]) -> int:
    failed = 0
    for name in names or sorted(PROGRAMS):
        try:
            PROGRAMS[name].build()
        except (CannotInstall, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed += 1
        else:
            print(f"{name} {PROGRAMS[name].version()}: {PROGRAMS[name].missing() or 'available'}")
    return 1 if failed else 0


def show() -> int:
    for name, server in sorted(PROGRAMS.items()):
        print(f"{name:<12} {server.version():<10} {server.missing() or 'available'}")
    return 0


def start(name: str) -> int:
    reason = SERVERS[name].missing()
    if reason:
        print(f"{name}: {reason}", file=sys.stderr)
        return 1
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with SERVERS[name]() as server:
        facts = {
            "name": name,
            "version": server.version(),
            "url": server.url,
            "host": server.host,
            "ports": server.ports,
            "env": server.env,
            "log": str(server.log),
        }
        print(json.dumps(facts), flush=True)
        while server.running and not end.wait(1):
            pass
        if not end.is_set():
            print(server.log_tail(), file=sys.stderr)
    return 0 if end.is_set() else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description="Real servers for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="get the programs of some servers, or of all")
    make.add_argument("names", nargs="*", choices=[[], *sorted(PROGRAMS)], metavar="NAME")
    run = commands.add_parser("start", help="run one in the foreground; prints one JSON line when it answers")
    run.add_argument("name", choices=sorted(SERVERS))
    commands.add_parser("list", help="name, version, and what is missing")
    given = parser.parse_args()
    if given.command == "build":
        return build(given.names)
    return start(given.name) if given.command == "start" else show()


if __name__ == "__main__":
    sys.exit(main())
