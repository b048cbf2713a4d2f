"""Play a campaign.

    python -m tests.campaign gitlab [--runs 3000] [--jobs 2] [--first 0] [--tier TIER] [--seed SEED] [--json FILE]
    python -m tests.campaign vector [--kills 100] [--server-kills 20] [--backends lancedb weaviate] [--seed 0] [--json FILE]

A broken promise is printed with its seed and what happened. ``gitlab --tier T --seed N`` plays one run again;
``vector --seed N`` makes the same choices again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.campaign import campaign as gitlab
from tests.campaign.plan import KEYED, WEAK
from tests.campaign.vector import campaign as vector


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stations = parser.add_subparsers(dest="station", required=True)
    of_gitlab = stations.add_parser("gitlab", help="thousands of runs of the pipeline operator on bad days")
    of_gitlab.add_argument("--runs", type=int, default=3000, help="runs over all tiers (default: 3000)")
    of_gitlab.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    of_gitlab.add_argument("--first", type=int, default=0, help="first seed (default: 0)")
    of_gitlab.add_argument("--tier", action="append", choices=[*KEYED, *WEAK], help="only this one")
    of_gitlab.add_argument("--seed", type=int, help="only this one, with its events")
    of_vector = stations.add_parser("vector", help="index runs that are killed, and servers under them")
    of_vector.add_argument("--kills", type=int, default=100, help="of workers, in each store (default: 100)")
    of_vector.add_argument("--server-kills", type=int, default=20, help="of Weaviate (default: 20)")
    stores = ["lancedb", "weaviate"]
    of_vector.add_argument("--backends", nargs="+", default=stores, choices=stores)
    of_vector.add_argument("--seed", type=int, default=0, help="decides all choices (default: 0)")
    of_vector.add_argument(
        "--sabotage", action="store_true", help="take the runs' safeguards away: the campaign must find that"
    )
    for station in (of_gitlab, of_vector):
        station.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    args = parser.parse_args()
    return _gitlab(args) if args.station == "gitlab" else _vector(args)


def _gitlab(args: argparse.Namespace) -> int:
    tiers = args.tier or [*KEYED, *WEAK]
    if args.seed is not None:
        seeds = [(tier, args.seed) for tier in tiers]
    else:
        seeds = [(tiers[n % len(tiers)], args.first + n // len(tiers)) for n in range(args.runs)]
    tally = gitlab.play_seeds(seeds, jobs=args.jobs, show_events=args.seed is not None)
    print(gitlab.table(tally))
    _write(args, {"campaign": args.station, "tiers": tally})
    return 1 if any(row["broken"] for row in tally.values()) else 0


def _vector(args: argparse.Namespace) -> int:
    tallies, findings = vector.play(
        args.backends, args.kills, args.server_kills, seed=args.seed, sabotaged=args.sabotage
    )
    print(vector.table(tallies, findings))
    _write(args, {"campaign": args.station, "seed": args.seed, "stores": tallies, "findings": findings})
    return 1 if findings else 0


def _write(args: argparse.Namespace, figures: dict[str, object]) -> None:
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
