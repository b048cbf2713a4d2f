"""Play the campaign.

    python -m tests.campaign gitlab [--runs 3000] [--jobs 2] [--first 0] [--tier TIER] [--seed SEED] [--json FILE]

A broken promise is printed with its seed and everything that happened; ``--tier T --seed N`` plays that run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.campaign.campaign import play_seeds, table
from tests.campaign.plan import KEYED, WEAK


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("station", choices=["gitlab"])
    parser.add_argument("--runs", type=int, default=3000, help="runs over all tiers (default: 3000)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--tier", action="append", choices=[*KEYED, *WEAK], help="only this one")
    parser.add_argument("--seed", type=int, help="only this one, with its events")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    args = parser.parse_args()

    tiers = args.tier or [*KEYED, *WEAK]
    if args.seed is not None:
        seeds = [(tier, args.seed) for tier in tiers]
    else:
        seeds = [(tiers[n % len(tiers)], args.first + n // len(tiers)) for n in range(args.runs)]
    tally = play_seeds(seeds, jobs=args.jobs, show_events=args.seed is not None)
    print(table(tally))
    if args.json:
        args.json.write_text(json.dumps({"campaign": args.station, "tiers": tally}, indent=2) + "\n")
    return 1 if any(row["broken"] for row in tally.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
