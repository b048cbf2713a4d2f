"""Commands: `airflow mlops ...` and `python -m airflow_provider_mlops ...`."""
