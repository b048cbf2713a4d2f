"""Ray Data with the clients of the stores, and without Airflow."""

from __future__ import annotations

from tests.servers.python_environment import STORES, PythonEnvironment

VERSION = "2.60.0"


class Ray(PythonEnvironment):
    """The environment of a Ray driver and its workers."""

    name = "ray"
    requirements = (f"ray[data]=={VERSION}", *STORES)

    @classmethod
    def version(cls) -> str:
        return VERSION
