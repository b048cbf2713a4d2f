"""What every Airflow-facing class of this package shares."""
