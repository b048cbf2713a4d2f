"""The jobs of a run: numbered lines, a result, and duplicates that do not end by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import yaml

from airflow_provider_mlops.testing.gitlab import artifacts
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact
from airflow_provider_mlops.testing.gitlab.executors import JobRun, Outcome

if TYPE_CHECKING:
    from tests.campaign.world import Run

#: The key's input is declared and shown; a run that does not send it leaves it empty.
_CONFIG = {
    "workflow": {"name": "Release $[[ inputs.airflow_key ]]"},
    "stages": ["build", "train"],
    "build": {"stage": "build", "script": ["true"]},
    "train": {"stage": "train", "script": ["true"]},
}


class JobScript:
    """Plays the jobs of the run that has the server at the moment."""

    def __init__(self) -> None:
        self.run_of: Run | None = None

    def initial_files(self) -> Mapping[str, str]:
        spec = yaml.safe_dump({"spec": {"inputs": {"airflow_key": {"default": ""}}}})
        return {".gitlab-ci.yml": spec + "---\n" + yaml.safe_dump(_CONFIG, sort_keys=False)}

    def close(self) -> None:
        """Jobs end with their cancellation."""

    def run(self, job: JobRun) -> Outcome:
        play = self.run_of
        assert play is not None
        how, number = play.plan.job, int(job.variables["CI_PIPELINE_ID"])
        if play.plan.knobs.get("odd_status"):
            job.show_status("thinking")
        for line in range(how["lines"]):
            job.trace.write(f"line {line} of job {job.job_id}\n")
            if job.cancelled.wait(how["pause"]):
                return Outcome("failed")
        if job.spec.name == "build":
            return Outcome("success", afterwards=lambda: _last_words(job, how))
        while not play.may_end(number):
            if job.cancelled.wait(0.01):
                return Outcome("failed")
        if how["fails"] and play.fail_now(job.job_id):
            return Outcome("failed", how["fails"], 1, afterwards=lambda: _last_words(job, how))
        outcome = Outcome("success", afterwards=lambda: _last_words(job, how))
        content = artifacts.archive({"out.json": json.dumps({"pipeline": number}).encode()})
        outcome.artifacts.append(StoredArtifact("archive", "artifacts.zip", content))
        return outcome


def _last_words(job: JobRun, how: Mapping[str, float]) -> None:
    if how["late"]:
        time.sleep(how["late"])
    job.trace.write("Job succeeded\n")
    if how["shift"]:
        job.trace.shift(int(how["shift"]))
