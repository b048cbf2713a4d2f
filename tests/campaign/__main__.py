"""Play a campaign.

    python -m tests.campaign gitlab [--runs 3000] [--jobs 2] [--first 0] [--tier TIER] [--seed SEED] [--json FILE]
    python -m tests.campaign vector [--kills 100] [--server-kills 20] [--backends lancedb weaviate] [--jobs 2]
                                    [--first 0] [--seed SEED] [--sabotage NAME] [--json FILE]

A broken promise is printed with its seed; ``--seed N`` (with ``--tier T``, or with one backend) plays that one again,
with everything that happened.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.campaign.plan import KEYED, WEAK


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--jobs", type=int, default=2, help="at a time (default: 2)")
    common.add_argument("--first", type=int, default=0, help="first seed (default: 0)")
    common.add_argument("--seed", type=int, help="only this one, with its events")
    common.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    stations = parser.add_subparsers(dest="station", required=True)
    gitlab = stations.add_parser("gitlab", parents=[common])
    gitlab.add_argument("--runs", type=int, default=3000, help="runs over all tiers (default: 3000)")
    gitlab.add_argument("--tier", action="append", choices=[*KEYED, *WEAK], help="only this one")
    vector = stations.add_parser("vector", parents=[common])
    vector.add_argument("--kills", type=int, default=100, help="of workers, per backend (default: 100)")
    vector.add_argument("--server-kills", type=int, default=20, help="of the Weaviate server (default: 20)")
    vector.add_argument("--backends", nargs="+", default=["lancedb", "weaviate"], metavar="NAME")
    vector.add_argument(
        "--sabotage", help="take a safeguard away: 'deletes first', 'live too early', 'no healing'"
    )
    args = parser.parse_args()
    figures, broken = _gitlab(args) if args.station == "gitlab" else _vector(args)
    if args.json:
        args.json.write_text(json.dumps({"campaign": args.station, **figures}, indent=2) + "\n")
    return 1 if broken else 0


def _gitlab(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    from tests.campaign.campaign import play_seeds, table

    tiers = args.tier or [*KEYED, *WEAK]
    if args.seed is not None:
        seeds = [(tier, args.seed) for tier in tiers]
    else:
        seeds = [(tiers[n % len(tiers)], args.first + n // len(tiers)) for n in range(args.runs)]
    tally = play_seeds(seeds, jobs=args.jobs, show_events=args.seed is not None)
    print(table(tally))
    return {"tiers": tally}, any(row["broken"] for row in tally.values())


def _vector(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    from tests.campaign.vector.campaign import play, table

    parts = dict.fromkeys(args.backends, args.kills)
    if "weaviate" in parts:
        parts["weaviate server"] = args.server_kills
    figures = {
        part: play(
            part, kills, first=args.first, seed=args.seed, jobs=args.jobs, sabotage=args.sabotage,
            tell=lambda line: print(line, flush=True),
        )
        for part, kills in parts.items()
        if kills
    }  # fmt: skip
    print(table(figures))
    return {"parts": figures}, any(part["findings"] for part in figures.values())


if __name__ == "__main__":
    sys.exit(main())
