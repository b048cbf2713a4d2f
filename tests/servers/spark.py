"""PySpark with the clients of the stores, and without Airflow. It needs a Java runtime, 17 or newer."""

from __future__ import annotations

import shutil

from tests.servers.install import CannotInstall, apt_install
from tests.servers.python_environment import STORES, PythonEnvironment

VERSION = "4.3.0"


class Spark(PythonEnvironment):
    """The environment of a Spark driver and its Python workers."""

    name = "spark"
    requirements = (f"pyspark=={VERSION}", "pandas<3", *STORES)

    @classmethod
    def version(cls) -> str:
        return VERSION

    @classmethod
    def missing(cls) -> str | None:
        if shutil.which("java") is None:
            return "there is no java; install it as root: apt-get install openjdk-17-jre-headless"
        return super().missing()

    @classmethod
    def build(cls) -> None:
        if shutil.which("java") is None:
            apt_install("openjdk-17-jre-headless")
        if shutil.which("java") is None:
            raise CannotInstall("java is not on PATH")
        super().build()
