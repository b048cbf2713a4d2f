"""``python -m airflow_provider_mlops``: the same words as ``airflow mlops``, without starting Airflow's CLI."""

import sys

from airflow_provider_mlops.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
