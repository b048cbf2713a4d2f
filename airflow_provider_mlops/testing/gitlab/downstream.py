"""Bridges: which pipeline a trigger job asks for, and when GitLab refuses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from airflow_provider_mlops.testing.gitlab import artifacts, environment
from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.model import Job, Pipeline, Project, Variable, now
from airflow_provider_mlops.testing.gitlab.specs import DownstreamSpec
from airflow_provider_mlops.testing.gitlab.store import Store

MAX_CHILD_DEPTH = 2
NO_ARTIFACT = "downstream_pipeline_creation_failed"


class DownstreamRefused(Exception):
    """No pipeline can be made; the text is the bridge's ``failure_reason``."""


@dataclass(frozen=True)
class Order:
    """A pipeline to make; ``config`` replaces the project's own file."""

    project: Project
    ref: str
    source: str
    variables: tuple[Variable, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    config: str | None = None


def _ancestors(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The pipeline, and those that led to it."""
    current: Pipeline | None = pipeline
    while current is not None:
        yield current
        current = None if current.upstream is None else current.upstream.pipeline


def _variables(bridge: Job, wanted: DownstreamSpec) -> tuple[Variable, ...]:
    """What ``trigger:forward`` lets through: by default the configuration's variables, not the pipeline's."""
    parent = bridge.pipeline
    passed: dict[str, Variable] = {}
    if wanted.forward_yaml:
        known = environment.of_job(bridge, {}, "")
        for name, value in {**parent.plan.variables, **bridge.spec.variables}.items():
            passed[name] = Variable(name, expand(value, known))
    if wanted.forward_pipeline:
        passed |= {variable.key: variable for variable in parent.variables}
    return tuple(passed.values())


def _child_config(bridge: Job, wanted: DownstreamSpec) -> str:
    """A configuration that includes what ``trigger:include`` names."""
    entries = []
    for entry in wanted.include:
        if "artifact" not in entry:
            entries.append(dict(entry))
            continue
        # A generated file is no part of the repository, so it is the configuration itself.
        makers = [job for job in bridge.pipeline.latest() if job.name == entry.get("job")]
        archive = makers[0].archive(now()) if makers else None
        content = artifacts.member(archive.content, str(entry["artifact"])) if archive else None
        if content is None:
            raise DownstreamRefused(NO_ARTIFACT)
        return content.decode(errors="replace")
    return yaml.safe_dump({"include": entries})


def order(store: Store, bridge: Job) -> Order:
    """What the bridge asks for.

    :raises DownstreamRefused: it asks for something that GitLab does not make.
    """
    wanted, parent = bridge.spec.downstream, bridge.pipeline
    if wanted is None:
        raise DownstreamRefused("invalid_bridge_trigger")
    variables = _variables(bridge, wanted)
    if wanted.project is None:
        generations = [pipeline for pipeline in _ancestors(parent) if pipeline.source == "parent_pipeline"]
        if len(generations) >= MAX_CHILD_DEPTH:
            raise DownstreamRefused("reached_max_descendant_pipelines_depth")
        return Order(
            parent.project,
            parent.ref,
            "parent_pipeline",
            variables,
            {} if any(entry.get("inputs") for entry in wanted.include) else wanted.inputs,
            _child_config(bridge, wanted),
        )
    known = environment.of_job(bridge, {}, "")
    path = expand(wanted.project, known)
    project = store.find_project(path)
    if project is None or project.path != path:
        raise DownstreamRefused("downstream_bridge_project_not_found")
    ref = expand(wanted.branch, known) if wanted.branch else project.default_branch
    if any((other.project, other.ref) == (project, ref) for other in _ancestors(parent)):
        raise DownstreamRefused("pipeline_loop_detected")
    return Order(project, ref, "pipeline", variables, wanted.inputs)
