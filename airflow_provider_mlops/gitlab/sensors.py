"""Sensors for GitLab pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow_provider_mlops.base.operators import product_field
from airflow_provider_mlops.compat import AirflowSkipException, Context
from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState, Json
from airflow_provider_mlops.external_job.sensors import ExternalJobSensor
from airflow_provider_mlops.gitlab.arguments import check_word, policy_of
from airflow_provider_mlops.gitlab.options import GitlabLogs, OnSkipped
from airflow_provider_mlops.gitlab.outputs import parse_outputs
from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
from airflow_provider_mlops.gitlab.request import PipelineRequest


class GitlabPipelineSensor(ExternalJobSensor):
    """Wait for a pipeline that was started elsewhere, and hand on its outputs.

    Returns :class:`~airflow_provider_mlops.payloads.GitlabPipelinePayload` with one more key for each output.
    It never cancels or retries the pipeline. ``pipeline``, ``project``, ``outputs`` and ``gitlab_conn_id`` are
    templated.

    :param pipeline: the pipeline's number, or the whole ``.output`` of a
        :class:`~airflow_provider_mlops.operators.GitlabTriggerOperator` with ``wait_for_completion=False``.
    :param project: number or full path; not needed if ``pipeline`` is such an output.
    :param outputs: as in :class:`~airflow_provider_mlops.operators.GitlabTriggerOperator`.
    :param gitlab_conn_id: connection of type ``gitlab`` with an access token of scope ``read_api``.
    :param on_manual: what a pipeline that waits for a manual job means: ``wait``, ``fail`` or ``succeed``.
    :param on_skipped: what a skipped pipeline means: ``fail``, ``skip`` (the task too) or ``succeed``.

    :raises RemoteObjectNotFound: no such project, or not visible to the token.
    :raises JobLost: no such pipeline.
    :raises PipelineFailed: a job failed for good.
    :raises PipelineInfrastructureFailed: runners or GitLab made it fail.
    :raises JobCancelled: somebody cancelled it.
    :raises OutputMissing: it succeeded, but a declared output is not there.
    """

    template_fields: Sequence[str] = ("pipeline", "project", "outputs", "gitlab_conn_id")

    def __init__(
        self,
        *,
        pipeline: int | str | Mapping[str, Any],
        project: str | int | None = None,
        outputs: Mapping[str, str] | None = None,
        gitlab_conn_id: str = "gitlab_default",
        on_manual: Literal["fail", "wait", "succeed"] = "wait",
        on_skipped: OnSkipped = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.project = project
        self.outputs = outputs
        self.gitlab_conn_id = gitlab_conn_id
        self.on_manual = on_manual
        self.on_skipped = on_skipped

    def adapter(self, context: Context) -> PipelineAdapter:
        """How to read the pipeline, from the rendered arguments.

        :raises InvalidArgument: one of them is wrong.
        """
        check_word("on_manual", self.on_manual)
        parse_outputs(self.outputs)
        project = self.project
        if project is None and isinstance(self.pipeline, Mapping):
            project = product_field(self.pipeline, "project_id", argument="pipeline")
        return PipelineAdapter(
            conn_id=self.gitlab_conn_id,
            request=PipelineRequest.checked(project="" if project is None else project),
            policy=policy_of(on_manual=self.on_manual, on_skipped=self.on_skipped),
            log=GitlabLogs("none"),
            outputs=dict(self.outputs or {}),
        )

    def handle(self, context: Context) -> JobHandle:
        """The pipeline to wait for.

        :raises InvalidArgument: ``pipeline`` is no number.
        """
        number = product_field(self.pipeline, "pipeline_id", argument="pipeline")
        if not str(number).isascii() or not str(number).isdigit():
            raise InvalidArgument(f"pipeline {number!r} is no number of a pipeline")
        url = self.pipeline.get("url") if isinstance(self.pipeline, Mapping) else None
        return JobHandle(0, {"pipeline_id": int(number)}, url)

    def payload(
        self, context: Context, *, state: JobState, handle: JobHandle, result: Mapping[str, Json]
    ) -> dict[str, Any]:
        """What the task returns.

        :raises AirflowSkipException: the pipeline was skipped, and ``on_skipped`` is ``skip``.
        """
        if result["status"] == "skipped" and self.on_skipped == "skip":
            raise AirflowSkipException(f"GitLab skipped pipeline {result['pipeline_id']}")
        payload = super().payload(context, state=state, handle=handle, result=result)
        return {**payload, "url": result["url"]}
