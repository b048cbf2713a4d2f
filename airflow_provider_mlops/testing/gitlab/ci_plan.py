"""From a resolved configuration to the jobs of one pipeline."""

from __future__ import annotations

import graphlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from airflow_provider_mlops.testing.gitlab import ci_rules, ci_yaml
from airflow_provider_mlops.testing.gitlab.ci_variables import expand, expand_all
from airflow_provider_mlops.testing.gitlab.specs import (
    ArtifactSpec,
    ConfigError,
    DownstreamSpec,
    JobSpec,
    Need,
    NoPipeline,
    PipelinePlan,
    RetrySpec,
    When,
)

NO_JOBS = (
    "Pipeline will not run for the selected trigger. "
    "The rules configuration prevented any jobs from being added to the pipeline."
)
FILTERED = "Pipeline filtered out by workflow rules."
# Accepted without effect: they steer machinery that a stand-in does not have.
IGNORED_KEYWORDS = frozenset(
    [
        "image",
        "services",
        "cache",
        "tags",
        "interruptible",
        "environment",
        "coverage",
        "inherit",
        "secrets",
        "id_tokens",
        "release",
        "pages",
        "hooks",
        "identity",
        "publish",
        "manual_confirmation",
    ]
)
KNOWN_KEYWORDS = IGNORED_KEYWORDS | frozenset(
    [
        "stage",
        "script",
        "before_script",
        "after_script",
        "variables",
        "rules",
        "needs",
        "dependencies",
        "when",
        "allow_failure",
        "artifacts",
        "retry",
        "timeout",
        "parallel",
        "start_in",
        "trigger",
        "extends",
        "inputs",
        "resource_group",
    ]
)
DEFAULT_EXPIRY = "30 days"
_WHENS = ("on_success", "on_failure", "always", "manual", "delayed", "never")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(mo|[a-z])?[a-z]*")


@dataclass(frozen=True)
class PlanContext:
    """What the configuration is judged by."""

    predefined: Mapping[str, str]
    variables: Mapping[str, str]
    inputs: Mapping[str, Any]
    read: Callable[[str], str | None]
    files: Callable[[], Sequence[str]]


def seconds(value: Any) -> float:
    """``1h 30m``, ``10 minutes``, ``0.5 seconds`` or a number of seconds."""
    if isinstance(value, int | float):
        return float(value)
    return sum(
        float(number) * _UNITS.get(unit or "s", 1) for number, unit in _DURATION.findall(str(value).lower())
    )


def _strings(value: Any) -> tuple[str, ...]:
    """A string or (nested) list of strings, flat."""
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(itertools.chain.from_iterable(_strings(item) for item in value))
    return (str(value),)


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _variables(value: Any) -> dict[str, str]:
    plain = {
        str(name): entry.get("value", "") if isinstance(entry, Mapping) else entry
        for name, entry in (value or {}).items()
    }
    return {name: _scalar(entry) for name, entry in plain.items()}


def _artifacts(value: Any) -> ArtifactSpec | None:
    if not value:
        return None
    expire_in = value.get("expire_in", DEFAULT_EXPIRY)
    return ArtifactSpec(
        name=str(value.get("name", "artifacts")),
        paths=_strings(value.get("paths")),
        exclude=_strings(value.get("exclude")),
        when=value.get("when", "on_success"),
        expire_in=None if expire_in == "never" else seconds(expire_in),
        reports={
            kind: _strings(entry)
            for kind, entry in (value.get("reports") or {}).items()
            if not isinstance(entry, Mapping)
        },
    )


def _retry(value: Any) -> RetrySpec:
    if isinstance(value, Mapping):
        return RetrySpec(
            max=int(value.get("max", 2)),
            when=frozenset(_strings(value.get("when"))) - {"always"},
            exit_codes=frozenset(int(code) for code in _strings(value.get("exit_codes"))),
        )
    return RetrySpec(max=int(value or 0))


def _needs(value: Any) -> tuple[Need, ...] | None:
    if value is None:
        return None
    needs = []
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, str):
            needs.append(Need(entry))
        elif "job" in entry and "pipeline" not in entry and "project" not in entry:
            needs.append(
                Need(entry["job"], bool(entry.get("artifacts", True)), bool(entry.get("optional", False)))
            )
        else:
            raise ConfigError("The stand-in only knows needs of jobs in the same pipeline")
    return tuple(needs)


def _downstream(value: Any) -> DownstreamSpec | None:
    if not value:
        return None
    if isinstance(value, str):
        return DownstreamSpec(project=value)
    include = value.get("include")
    entries = include if isinstance(include, list) else [include] if include else []
    entries = [{"local": entry} if isinstance(entry, str) else entry for entry in entries]
    if any(not isinstance(entry, Mapping) or not ({"local", "artifact"} & entry.keys()) for entry in entries):
        raise ConfigError("The stand-in can only trigger local files and artifacts of jobs")
    forward = value.get("forward") or {}
    inputs = value.get("inputs") or {}
    if inputs:
        entries = [{**entry, "inputs": entry.get("inputs") or inputs} for entry in entries]
    return DownstreamSpec(
        include=tuple(entries),
        project=value.get("project"),
        branch=value.get("branch"),
        depend=value.get("strategy") in ("depend", "mirror"),
        inputs=inputs,
        forward_yaml=bool(forward.get("yaml_variables", True)),
        forward_pipeline=bool(forward.get("pipeline_variables", False)),
    )


def _copies(name: str, parallel: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """The job's names and extra variables under ``parallel``."""
    if parallel is None:
        yield name, {}
        return
    if isinstance(parallel, Mapping):
        rows = [
            dict(zip(entry, choice, strict=True))
            for entry in parallel.get("matrix", [])
            for choice in itertools.product(*(_strings(values) for values in entry.values()))
        ]
        named = [(f"{name}: [{', '.join(row.values())}]", row) for row in rows]
    else:
        named = [(f"{name} {index}/{parallel}", {}) for index in range(1, int(parallel) + 1)]
    for index, (copy, row) in enumerate(named, start=1):
        yield copy, {**row, "CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(len(named))}


def _allow_failure(value: Any) -> tuple[bool, frozenset[int]]:
    if isinstance(value, Mapping):
        return False, frozenset(int(code) for code in _strings(value.get("exit_codes")))
    return bool(value), frozenset()


def _refuse_circles(jobs: Sequence[JobSpec]) -> None:
    waits = {spec.name: {need.job for need in spec.needs or ()} for spec in jobs}
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        raise ConfigError("The pipeline has circular dependencies: " + ", ".join(error.args[1])) from error


class _Planner:
    def __init__(self, tree: ci_yaml.CiTree, context: PlanContext) -> None:
        self.tree = tree
        self.context = context
        stages = _strings(tree.top.get("stages")) or ("build", "test", "deploy")
        self.stages = (".pre", *(stage for stage in stages if stage not in (".pre", ".post")), ".post")
        self.globals = _variables(tree.top.get("variables"))

    def _known(self, extra: Mapping[str, str]) -> dict[str, str]:
        known = {**self.context.predefined, **self.globals, **extra, **self.context.variables}
        return expand_all(known)

    def workflow(self) -> str | None:
        workflow = self.tree.top.get("workflow") or {}
        if workflow.get("rules"):
            verdict = ci_rules.decide(workflow["rules"], self._known({}), self.context.files)
            if verdict is None or verdict.when == "never":
                raise NoPipeline(FILTERED)
            self.globals.update(_variables(verdict.variables))
        name = workflow.get("name")
        return expand(str(name), self._known({})).strip() or None if name else None

    def job(self, name: str, raw: Mapping[str, Any]) -> JobSpec | None:
        config = f"jobs:{name} config"
        unknown = sorted(str(key) for key in raw if key not in KNOWN_KEYWORDS)
        if unknown:
            raise ConfigError(f"{config} contains unknown keys: {', '.join(unknown)}")
        if not raw.get("script") and not raw.get("trigger"):
            raise ConfigError(f"{config} should implement the script:, run:, or trigger: keyword")
        stage = str(raw.get("stage", "test"))
        if stage not in self.stages:
            raise ConfigError(
                f"{name} job: chosen stage {stage} does not exist; available stages are {', '.join(self.stages)}"
            )
        variables = _variables(raw.get("variables"))
        when, allowed, needs, start_in = (
            raw.get("when"),
            raw.get("allow_failure"),
            raw.get("needs"),
            raw.get("start_in"),
        )
        if "rules" in raw:
            verdict = ci_rules.decide(raw["rules"] or [], self._known(variables), self.context.files)
            if verdict is None:
                return None
            when = verdict.when or when
            allowed = allowed if verdict.allow_failure is None else verdict.allow_failure
            needs = needs if verdict.needs is None else verdict.needs
            start_in = verdict.start_in or start_in
            variables.update(_variables(verdict.variables))
        elif when == "manual" and allowed is None:
            # Outside of rules a manual job never holds up the pipeline; inside, it does.
            allowed = True
        when = when or "on_success"
        if when not in _WHENS:
            raise ConfigError(f"{config} when should be one of: {', '.join(_WHENS)}")
        if when == "never":
            return None
        allow_failure, codes = _allow_failure(allowed)
        dependencies = raw.get("dependencies")
        return JobSpec(
            name=name,
            stage=stage,
            stage_index=self.stages.index(stage),
            script=(*_strings(raw.get("before_script")), *_strings(raw.get("script"))),
            after_script=_strings(raw.get("after_script")),
            variables=variables,
            needs=_needs(needs),
            dependencies=None if dependencies is None else _strings(dependencies),
            when=cast("When", when),
            allow_failure=allow_failure,
            allow_failure_codes=codes,
            artifacts=_artifacts(raw.get("artifacts")),
            retry=_retry(raw.get("retry")),
            timeout=seconds(raw["timeout"]) if raw.get("timeout") else None,
            start_in=seconds(start_in) if start_in else 0.0,
            tags=_strings(raw.get("tags")),
            downstream=_downstream(raw.get("trigger")),
            resource_group=None if raw.get("resource_group") is None else str(raw["resource_group"]),
        )

    def jobs(self) -> list[JobSpec]:
        planned: list[JobSpec] = []
        names: dict[str, list[str]] = {}
        for name, raw in self.tree.jobs.items():
            spec = self.job(name, raw)
            if spec is None:
                continue
            for copy, extra in _copies(name, raw.get("parallel")):
                names.setdefault(name, []).append(copy)
                planned.append(replace(spec, name=copy, variables={**spec.variables, **extra}))
        if not any(spec.stage not in (".pre", ".post") for spec in planned):
            raise NoPipeline(NO_JOBS)
        resolved = [self._with_needs(spec, names) for spec in planned]
        _refuse_circles(resolved)
        return sorted(resolved, key=lambda spec: spec.stage_index)

    def _with_needs(self, spec: JobSpec, names: Mapping[str, list[str]]) -> JobSpec:
        """Point ``needs`` at the copies that ``parallel`` made, and check that they exist."""
        if spec.needs is None:
            return spec
        everything = {copy for copies in names.values() for copy in copies}
        needs: list[Need] = []
        for need in spec.needs:
            copies = names.get(need.job) or ([need.job] if need.job in everything else [])
            if not copies and not need.optional:
                if need.job not in self.tree.jobs:
                    raise ConfigError(f"{spec.name} job: undefined need: {need.job}")
                raise ConfigError(
                    f"'{spec.name}' job needs '{need.job}' job, but '{need.job}' does not exist in the pipeline. "
                    "This might be because of the only, except, or rules keywords. "
                    "To need a job that sometimes does not exist in the pipeline, use needs:optional."
                )
            needs.extend(replace(need, job=copy) for copy in copies)
        return replace(spec, needs=tuple(needs))


def plan(text: str, context: PlanContext) -> PipelinePlan:
    """Decide which jobs a pipeline gets.

    :param text: The configuration file.
    :raises ConfigError: in GitLab's words, also when rules leave no job.
    """
    tree = ci_yaml.load(
        text, inputs=context.inputs, variables={**context.predefined, **context.variables}, read=context.read
    )
    planner = _Planner(tree, context)
    name = planner.workflow()
    jobs = planner.jobs()
    return PipelinePlan(name=name, stages=planner.stages, jobs=tuple(jobs), variables=dict(planner.globals))
