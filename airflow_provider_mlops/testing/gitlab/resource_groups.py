"""``resource_group``: of all jobs of a project that name the same one, a single one is under way."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab import environment
from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.model import Job


class ResourceGroups:
    """Who holds which group, and who waits for it, oldest first."""

    def __init__(self) -> None:
        self._holders: dict[tuple[int, str], Job] = {}
        self._waiting: dict[tuple[int, str], list[Job]] = {}

    def take(self, job: Job) -> bool:
        """Whether the job may go on; if not, it waits until :meth:`next_after` names it."""
        if job.spec.resource_group is None:
            return True
        name = expand(job.spec.resource_group, environment.of_job(job, {}, ""))
        key = (job.pipeline.project.id, name)
        holder = self._holders.get(key)
        if holder is None or holder is job:
            self._holders[key] = job
            return True
        waiting = self._waiting.setdefault(key, [])
        if job not in waiting:
            waiting.append(job)
        return False

    def next_after(self, job: Job) -> Job | None:
        """Let go of the group that a job holds; gives the job whose turn it is, if one waits."""
        for key, holder in list(self._holders.items()):
            if holder is not job:
                continue
            del self._holders[key]
            waiting = self._waiting.get(key, [])
            while waiting:
                following = waiting.pop(0)
                if following.status == "waiting_for_resource":
                    return following
        return None
