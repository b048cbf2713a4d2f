"""Airflow provider for the path from a training task to a healthy, reversible release.

Airflow loads this package on every ``import airflow`` (through the provider entry point), so this
module imports nothing: a mistake here would take a whole deployment down.

Public names live in ``airflow_provider_mlops.operators``, ``.hooks``, ``.sensors``, ``.triggers``
and ``.notifiers``; value types in their station (``airflow_provider_mlops.pods``, ``.vector``).
"""

__version__ = "0.1.0"
