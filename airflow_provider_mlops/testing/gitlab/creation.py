"""Making pipelines: checks, plan, and the beginning of their life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_mlops.testing.gitlab import ci_plan, environment
from airflow_provider_mlops.testing.gitlab.clock import Clock
from airflow_provider_mlops.testing.gitlab.executors import Executor
from airflow_provider_mlops.testing.gitlab.knobs import Knobs
from airflow_provider_mlops.testing.gitlab.lifecycle import Lifecycle
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Project, Store, User, Variable
from airflow_provider_mlops.testing.gitlab.specs import ConfigError, PipelinePlan

CONFIG_PATH = ".gitlab-ci.yml"
FIRST_PIPELINE_ID = 1001
VARIABLES_FORBIDDEN = "Insufficient permissions to set pipeline variables"
TOO_MANY = "Too many pipelines created in the last minute. Try again later."
_NOTHING_BEFORE = "0" * 40


class Creator:
    """Creates pipelines in a store and hands them to their lifecycle."""

    def __init__(self, store: Store, knobs: Knobs, executor: Executor, clock: Clock, server_url: str) -> None:
        self.store = store
        self.knobs = knobs
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
    ) -> Pipeline:
        """Create a pipeline and start it.

        :param config: The configuration's text when it is not the project's own file.
        :raises ConfigError: GitLab would refuse, with its messages.
        """
        if self.knobs.too_many_pipelines > 0 and upstream is None:
            self.knobs.too_many_pipelines -= 1
            raise ConfigError(TOO_MANY)
        if variables and self.knobs.variables_forbidden and upstream is None:
            raise ConfigError(VARIABLES_FORBIDDEN)
        sha = project.repository.resolve_ref(ref)
        if sha is None:
            raise ConfigError("Reference not found")
        tag = project.repository.is_tag(ref)
        predefined = environment.of_creation(
            project, server_url=self.server_url, ref=ref, sha=sha, tag=tag, source=source, user=user
        )
        given = dict(inputs or {}) if self.knobs.inputs_supported else {}
        plan = self.plan(project, sha, predefined, variables, given, config)
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
            self.lifecycle.start(pipeline)
        return pipeline

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

        def read(path: str) -> str | None:
            content = project.repository.read(sha, path)
            return None if content is None else content.decode(errors="replace")

        text = read(CONFIG_PATH) if config is None else config
        if text is None:
            raise ConfigError("Missing CI config file")
        context = ci_plan.PlanContext(
            predefined=predefined,
            variables={
                **{variable.key: variable.value for variable in project.variables.values()},
                **{variable.key: variable.value for variable in variables},
            },
            inputs=inputs,
            read=read,
            files=lambda: list(project.repository.tree(sha)),
        )
        return ci_plan.plan(text, context)

    def _downstream(self, bridge: Job) -> Pipeline:
        """Start what a bridge asks for: a child pipeline, or one of another project."""
        wanted = bridge.spec.downstream
        parent = bridge.pipeline
        if wanted is None:
            raise ConfigError("not a bridge")
        passed = [Variable(key, value) for key, value in bridge.spec.variables.items()]
        if wanted.project is not None:
            project = self.store.find_project(wanted.project)
            if project is None:
                raise ConfigError("downstream project could not be found")
            ref = wanted.branch or project.default_branch
            return self.create(
                project,
                ref=ref,
                source="pipeline",
                user=parent.user,
                variables=passed,
                inputs=wanted.inputs,
                upstream=bridge,
            )
        texts = []
        for path in wanted.include:
            content = parent.project.repository.read(parent.sha, path.lstrip("/"))
            if content is None:
                raise ConfigError(f"Local file `{path}` does not exist!")
            texts.append(content.decode(errors="replace"))
        return self.create(
            parent.project,
            ref=parent.ref,
            source="parent_pipeline",
            user=parent.user,
            variables=[*parent.variables, *passed],
            inputs=wanted.inputs,
            config="\n".join(texts),
            upstream=bridge,
        )
