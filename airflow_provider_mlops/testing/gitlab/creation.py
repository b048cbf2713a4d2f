"""Making pipelines: checks, plan, and the beginning of their life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlops.testing.gitlab import ci_plan, downstream, environment
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.executors import Executor
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.lifecycle import Lifecycle
from airflow_provider_mlops.testing.gitlab.limits import Limits
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Project, User, Variable, now
from airflow_provider_mlops.testing.gitlab.specs import ConfigError, NoPipeline, PipelinePlan
from airflow_provider_mlops.testing.gitlab.store import Store

SHA_LIMIT = "pipelines_create"
CONFIG_PATH = ".gitlab-ci.yml"
FIRST_PIPELINE_ID = 1001
VARIABLES_FORBIDDEN = "Insufficient permissions to set pipeline variables"
TOO_MANY = "Too many pipelines created in the last minute. Try again later."
NOBODY = "no_one_allowed"
_NOTHING_BEFORE = "0" * 40


def _read(project: Project, sha: str, path: str) -> str | None:
    content = project.repository.read(sha, path)
    return None if content is None else content.decode(errors="replace")


class BrokenPipelineSaved(Exception):
    """The configuration is wrong, and a failed pipeline without jobs tells of it."""

    def __init__(self, pipeline: Pipeline, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.pipeline = pipeline
        self.messages = messages


class Creator:
    """Creates pipelines in a store and hands them to their lifecycle."""

    def __init__(
        self,
        store: Store,
        knobs: Knobs,
        executor: Executor,
        clock: Clock,
        limits: Limits,
        server_url: str,
    ) -> None:
        self.store = store
        self.knobs = knobs
        self.limits = limits
        self.server_url = server_url
        self.lifecycle = Lifecycle(store, knobs, executor, clock, self._downstream)

    def create(
        self,
        project: Project,
        *,
        ref: str,
        source: str,
        user: User,
        variables: Sequence[Variable] = (),
        inputs: Mapping[str, Any] | None = None,
        config: str | None = None,
        upstream: Job | None = None,
        save_broken: bool = False,
    ) -> Pipeline:
        """Create a pipeline and start it.

        :param config: The configuration's text when it is not the project's own file.
        :param save_broken: Keep a pipeline whose configuration is wrong.
        :raises ConfigError: GitLab would refuse, with its messages.
        :raises BrokenPipelineSaved: with ``save_broken``, for a wrong configuration.
        """
        found = project.repository.find_ref(ref)
        if found is None:
            raise NoPipeline("Reference not found")
        sha, tag = found
        if upstream is None:
            self._check_limits(project, sha, user)
            if variables and (self.knobs.variables_forbidden or project.variables_role == NOBODY):
                raise NoPipeline(VARIABLES_FORBIDDEN)
        predefined = environment.of_creation(
            project, server_url=self.server_url, ref=ref, sha=sha, tag=tag, source=source, user=user
        )
        given = dict(inputs or {}) if self.knobs.inputs_supported else {}
        problems: list[str] = []
        try:
            plan = self.plan(project, sha, predefined, variables, given, config)
        except NoPipeline:
            raise
        except ConfigError as error:
            if not save_broken:
                raise
            plan, problems = PipelinePlan(None, (), (), {}), error.messages
        with self.store.lock:
            pipeline = Pipeline(
                id=self.store.next_id("pipeline", FIRST_PIPELINE_ID),
                iid=self.store.next_id(f"pipeline of {project.id}"),
                project=project,
                ref=ref,
                sha=sha,
                before_sha=_NOTHING_BEFORE,
                tag=tag,
                source=source,
                user=user,
                plan=plan,
                predefined=predefined,
                variables=list(variables),
                inputs=given,
                name=plan.name,
                upstream=upstream,
            )
            project.pipelines[pipeline.id] = pipeline
            if problems:
                pipeline.status, pipeline.finished_at = "failed", now()
                pipeline.yaml_errors = ", ".join(problems)
                raise BrokenPipelineSaved(pipeline, problems)
            self.lifecycle.start(pipeline)
        return pipeline

    def _check_limits(self, project: Project, sha: str, user: User) -> None:
        who = f"{project.id} {user.id} {sha}"
        within = self.limits.within(SHA_LIMIT, who, self.knobs.pipelines_per_minute)
        if self.knobs.too_many_pipelines > 0:
            self.knobs.too_many_pipelines -= 1
            within = False
        if not within:
            raise NoPipeline(TOO_MANY)

    def plan(
        self,
        project: Project,
        sha: str,
        predefined: Mapping[str, str],
        variables: Sequence[Variable],
        inputs: Mapping[str, Any],
        config: str | None = None,
    ) -> PipelinePlan:
        """What a pipeline at ``sha`` would hold.

        :raises ConfigError: the configuration is missing or wrong.
        """

        text = self.config(project, sha) if config is None else config
        if text is None:
            raise NoPipeline("Missing CI config file")
        context = ci_plan.PlanContext(
            predefined=predefined,
            variables={
                **{variable.key: variable.value for variable in project.variables.values()},
                **{variable.key: variable.value for variable in variables},
            },
            inputs=inputs,
            read=lambda path: _read(project, sha, path),
            files=lambda: list(project.repository.tree(sha)),
        )
        return ci_plan.plan(text, context)

    def config(self, project: Project, sha: str) -> str | None:
        """The project's configuration file at a commit, or None."""
        return _read(project, sha, CONFIG_PATH)

    def _downstream(self, bridge: Job) -> Pipeline:
        """Start what a bridge asks for: a child pipeline, or one of another project."""
        wanted = downstream.order(self.store, bridge)
        try:
            return self.create(
                wanted.project,
                ref=wanted.ref,
                source=wanted.source,
                user=bridge.pipeline.user,
                variables=wanted.variables,
                inputs=wanted.inputs,
                config=wanted.config,
                upstream=bridge,
            )
        except ConfigError as error:
            raise downstream.DownstreamRefused("downstream_pipeline_creation_failed") from error
