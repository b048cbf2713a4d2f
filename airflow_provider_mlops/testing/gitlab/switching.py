"""Jobs run in bash, except those that a scenario plays."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_mlops.testing.gitlab.bash_executor import BashExecutor
from airflow_provider_mlops.testing.gitlab.executors import JobRun, Outcome
from airflow_provider_mlops.testing.gitlab.scripted import Scenario


class SwitchingExecutor:
    """Plays the jobs that ``scenario`` names, and really runs all others; the scenario may change at any time."""

    def __init__(self) -> None:
        self.scenario = Scenario({})
        self._bash = BashExecutor()

    def initial_files(self) -> Mapping[str, str]:
        return self._bash.initial_files()

    def run(self, run: JobRun) -> Outcome:
        scenario = self.scenario
        return scenario.run(run) if run.spec.name in scenario.jobs else self._bash.run(run)

    def close(self) -> None:
        """End what still runs."""
        self.scenario.close()
        self._bash.close()
