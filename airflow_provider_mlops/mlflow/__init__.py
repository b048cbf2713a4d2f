"""Models of an MLflow registry: what a reference means now, and its files."""
