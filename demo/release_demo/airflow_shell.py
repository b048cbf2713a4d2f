"""Runs Airflow commands one after another in one process: Airflow's own start costs more than a small DAG.

Reads one JSON array of words a line from standard input (``["dags", "test", "release_pipeline"]``) and answers
each with a line holding the exit status. Everything Airflow itself prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from airflow.cli.cli_parser import get_parser

    parser = get_parser()
    for line in sys.stdin:
        status = 0
        try:
            args = parser.parse_args(json.loads(line))
            args.func(args)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1 if end.code else 0
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except Exception:
            traceback.print_exc()
            status = 1
        answers.write(f"{status}\n")
        answers.flush()


if __name__ == "__main__":
    main()
