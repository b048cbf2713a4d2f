"""What a CI configuration asks for, after all of its keywords are resolved: values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

When = Literal["on_success", "on_failure", "always", "manual", "delayed", "never"]


class ConfigError(Exception):
    """The configuration cannot become a pipeline; ``messages`` are the words GitLab answers with."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = list(messages)


class NoPipeline(ConfigError):
    """There is nothing to run; unlike a wrong configuration this never leaves a failed pipeline."""


@dataclass(frozen=True)
class Need:
    """One entry of ``needs``."""

    job: str
    artifacts: bool = True
    optional: bool = False


@dataclass(frozen=True)
class ArtifactSpec:
    """The ``artifacts`` keyword; reports map a report type to its patterns. Nothing is expanded yet.

    ``expire_in`` is seconds, None for ever.
    """

    name: str = "artifacts"
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    when: str = "on_success"
    reports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    expire_in: float | None = None


@dataclass(frozen=True)
class RetrySpec:
    """The ``retry`` keyword: how often, and for which causes (empty sets mean every cause)."""

    max: int = 0
    when: frozenset[str] = frozenset()
    exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class DownstreamSpec:
    """The ``trigger`` keyword of a bridge job; entries of ``include`` hold ``local`` or ``artifact``."""

    include: tuple[Mapping[str, Any], ...] = ()
    project: str | None = None
    branch: str | None = None
    depend: bool = False
    inputs: Mapping[str, object] = field(default_factory=dict)
    forward_yaml: bool = True
    forward_pipeline: bool = False


@dataclass(frozen=True)
class JobSpec:
    """One job of a planned pipeline.

    ``needs`` is None when the job waits for the earlier stages. ``dependencies`` is None when it takes
    the artifacts of everything it waits for. ``timeout`` and ``start_in`` are seconds.
    """

    name: str
    stage: str
    stage_index: int
    script: tuple[str, ...] = ()
    after_script: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[Need, ...] | None = None
    dependencies: tuple[str, ...] | None = None
    when: When = "on_success"
    allow_failure: bool = False
    allow_failure_codes: frozenset[int] = frozenset()
    artifacts: ArtifactSpec | None = None
    retry: RetrySpec = RetrySpec()
    timeout: float | None = None
    start_in: float = 0.0
    tags: tuple[str, ...] = ()
    downstream: DownstreamSpec | None = None
    resource_group: str | None = None


@dataclass(frozen=True)
class PipelinePlan:
    """Everything one pipeline will hold; ``variables`` are those of ``workflow`` and the top level."""

    name: str | None
    stages: tuple[str, ...]
    jobs: tuple[JobSpec, ...]
    variables: Mapping[str, str]
