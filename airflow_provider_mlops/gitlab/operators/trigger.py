"""Operators for GitLab pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_provider_mlops.compat import AirflowSkipException, Context, operator_lineage
from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.external_job.adapter import JobHandle, JobState, Json
from airflow_provider_mlops.external_job.links import RemoteJobLink
from airflow_provider_mlops.external_job.operators import ExternalJobOperator
from airflow_provider_mlops.gitlab.arguments import check_word, logs_of, policy_of
from airflow_provider_mlops.gitlab.errors import PipelineEmpty
from airflow_provider_mlops.gitlab.lineage import job_facets, run_facets
from airflow_provider_mlops.gitlab.links import JOB_URL_KEY, GitlabJobLink, jobs_page
from airflow_provider_mlops.gitlab.options import (
    FollowDownstream,
    GitlabLogs,
    LogJobs,
    OnManual,
    OnNoJobs,
    OnRetry,
    OnSkipped,
)
from airflow_provider_mlops.gitlab.outputs import parse_outputs
from airflow_provider_mlops.gitlab.pipeline import PipelineAdapter
from airflow_provider_mlops.gitlab.request import PipelineRequest


class GitlabTriggerOperator(ExternalJobOperator):
    """Run a GitLab pipeline, show its log, wait for it and hand on its outputs.

    A retry goes on with the pipeline that an earlier try started, also after a crash or a lost answer. The key
    by which it is found travels as pipeline variable ``AIRFLOW_JOB_KEY``; where the project forbids variables,
    declare an input for it, show it in ``workflow:name`` and name it in ``key_input``::

        spec:
          inputs:
            airflow_key: {default: ""}
        ---
        workflow:
          name: "Release $[[ inputs.airflow_key ]]"

    Returns :class:`~airflow_provider_mlops.payloads.GitlabPipelinePayload` with one more key for each output.
    Every argument from ``project`` to ``on_manual`` is templated. Options that have more to say than a word take
    an object from :mod:`airflow_provider_mlops.gitlab`.

    :param project: number or full path, such as ``"group/subgroup/name"``.
    :param ref: branch or tag.
    :param inputs: values for the ``spec:inputs`` of ``.gitlab-ci.yml``: texts, numbers, booleans, lists. Prefer
        them to variables: they are typed, and GitLab refuses unknown ones.
    :param variables: pipeline variables. Collections travel as JSON, booleans as ``true`` and ``false``.
    :param file_variables: variables that jobs see as the path of a file with this content.
    :param secret_variables: variable name to the id of the Airflow connection whose password is its value. The
        value is read when the pipeline is started, and is never stored by Airflow. GitLab shows the variables of
        a pipeline to its maintainers.
    :param outputs: payload key to ``"job:path"`` (a whole JSON, dotenv or text file from the job's artifacts) or
        ``"job:path#/json/pointer"`` (a value in it). The file has to be in ``artifacts:paths``.
    :param key_input: declared input that takes the job key.
    :param gitlab_conn_id: connection of type ``gitlab``.
    :param use_trigger_token: start the pipeline with the connection's trigger token instead of its access token,
        which is then used to read only.
    :param on_manual: what a pipeline that waits for a manual job means: ``fail``, ``wait`` (for a person),
        ``succeed``, or :class:`~airflow_provider_mlops.gitlab.Play`: start the jobs that it names. Several jobs
        with different variables are a list of ``Play``.
    :param on_skipped: what a skipped pipeline means: ``fail``, ``skip`` (the task too) or ``succeed``.
    :param on_no_jobs: what it means that GitLab creates no pipeline because no job would run in it: ``fail`` or
        ``skip``.
    :param allow_warnings: accept jobs that failed and may (``allow_failure``). They are named in the task log and
        in the payload; with ``False`` they fail the task like any other.
    :param on_retry: what happens after a failed pipeline. ``auto``: if runners or GitLab were the cause, the next
        try runs the failed jobs again in the same pipeline; else the task fails for good.
        :class:`~airflow_provider_mlops.gitlab.AutoRetry` adds timeouts or further reasons to what ``auto``
        repeats. ``retry_failed``: it runs them again whatever the cause. ``new``: it starts another pipeline.
        ``reattach``: nothing is started again.
    :param downstream: ``follow`` the pipelines that trigger jobs start and wait for, or ``ignore`` them;
        :class:`~airflow_provider_mlops.gitlab.Downstream` bounds how far.
    :param log_jobs: whose job logs are shown: ``all``, ``failed``, ``none``, a list of job names, or
        :class:`~airflow_provider_mlops.gitlab.GitlabLogs`.
    :param force_cancel: after a cancel, end by force the jobs that still hang in ``canceling`` after 20 seconds,
        if the token may (role Maintainer).

    :raises InvalidArgument: an argument is wrong; nothing was started.
    :raises ConnectionIncomplete: the connection lacks a token; nothing was started.
    :raises CredentialsRejected: GitLab does not accept a token; nothing was started.
    :raises RemoteObjectNotFound: no such project, or not visible to the token; nothing was started.
    :raises ReferenceNotFound: no such branch or tag; nothing was started.
    :raises VariablesForbidden: the project forbids pipeline variables; nothing was started.
    :raises InputsRefused: inputs do not fit those declared; nothing was started.
    :raises PipelineEmpty: no job would run; nothing was started.
    :raises ManualJobUnknown: ``on_manual`` names a job that the pipeline does not have; it was cancelled.
    :raises PipelineFailed: a job failed for good.
    :raises PipelineInfrastructureFailed: runners or GitLab made it fail; a retry makes sense.
    :raises JobCancelled: somebody cancelled the pipeline in GitLab.
    :raises JobBlocked: it waits for a manual job, and ``on_manual`` is ``fail``.
    :raises OutputMissing: it succeeded, but a declared output is not there.
    """

    template_fields: Sequence[str] = (
        "project",
        "ref",
        "inputs",
        "variables",
        "file_variables",
        "secret_variables",
        "outputs",
        "key_input",
        "gitlab_conn_id",
        "on_manual",
    )
    template_fields_renderers = {  # noqa: RUF012 - Airflow declares it as an instance attribute
        "inputs": "json",
        "variables": "json",
        "outputs": "json",
    }
    operator_extra_links = (RemoteJobLink(), GitlabJobLink())
    ui_color = "#fc6d26"
    ui_fgcolor = "#ffffff"

    def __init__(
        self,
        *,
        project: str | int,
        ref: str = "main",
        inputs: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        file_variables: Mapping[str, str] | None = None,
        secret_variables: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        key_input: str | None = None,
        gitlab_conn_id: str = "gitlab_default",
        use_trigger_token: bool = False,
        on_manual: OnManual = "fail",
        on_skipped: OnSkipped = "fail",
        on_no_jobs: OnNoJobs = "fail",
        allow_warnings: bool = True,
        on_retry: OnRetry = "auto",
        downstream: FollowDownstream = "follow",
        log_jobs: LogJobs | GitlabLogs = "all",
        force_cancel: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project = project
        self.ref = ref
        self.inputs = inputs
        self.variables = variables
        self.file_variables = file_variables
        self.secret_variables = secret_variables
        self.outputs = outputs
        self.key_input = key_input
        self.gitlab_conn_id = gitlab_conn_id
        self.use_trigger_token = use_trigger_token
        self.on_manual = on_manual
        self.on_skipped = on_skipped
        self.on_no_jobs = on_no_jobs
        self.allow_warnings = allow_warnings
        self.on_retry = on_retry
        self.downstream = downstream
        self.log_jobs = log_jobs
        self.force_cancel = force_cancel

        self._facts: dict[str, Any] = {}

    def execute(self, context: Context) -> Any:
        """Start the pipeline or find it, and wait for it or defer.

        :raises AirflowSkipException: no job would run, and ``on_no_jobs`` is ``skip``.
        """
        check_word("on_no_jobs", self.on_no_jobs)
        try:
            with self._showing_what_failed(context):
                return super().execute(context)
        except PipelineEmpty as error:
            if self.on_no_jobs == "skip":
                raise AirflowSkipException(error.message) from error
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Called by Airflow when the deferred task goes on."""
        with self._showing_what_failed(context):
            return super().resume_execution(next_method, next_kwargs, context)

    @contextmanager
    def _showing_what_failed(self, context: Context) -> Iterator[None]:
        """Let the extra link and OpenLineage know of a pipeline that fails."""
        try:
            yield
        except MlopsError as error:
            if "pipeline_id" in error.fields:
                failed = error.fields.get("jobs") or []
                self._facts = {
                    "project": str(self.project),
                    "ref": self.ref,
                    **error.fields,
                    "url": error.fields.get("pipeline_url"),
                    "jobs": None,
                    "failed_jobs": failed,
                }
                if failed and error.url:
                    self._push_link(context, error.url)
            raise

    def _push_link(self, context: Context, url: str) -> None:
        try:
            with self._exchange():
                context["ti"].xcom_push(key=JOB_URL_KEY, value=url)
        except Exception as error:  # noqa: BLE001 - whatever Airflow raises: the pipeline's failure is the news
            self.log.warning("The link to the failed job cannot be set: %s", error)

    def links(self, handle: JobHandle) -> dict[str, str]:
        """The pipeline's page, and that of its jobs."""
        links = super().links(handle)
        return {**links, JOB_URL_KEY: jobs_page(handle.url)} if handle.url else links

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """The pipeline for OpenLineage, once it is known; ``None`` without its provider."""
        facts = self._facts
        if not facts.get("url"):
            return None
        try:
            return operator_lineage(run_facets(facts), job_facets(facts))
        except ImportError:
            return None

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """The pipeline that failed, with its failed jobs."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def adapter(self, context: Context) -> PipelineAdapter:
        """The pipeline, from the rendered arguments.

        :raises InvalidArgument: one of them is wrong.
        """
        parse_outputs(self.outputs)
        return PipelineAdapter(
            conn_id=self.gitlab_conn_id,
            request=PipelineRequest.checked(
                project=self.project,
                ref=self.ref,
                inputs=self.inputs,
                variables=self.variables,
                file_variables=self.file_variables,
                secret_variables=self.secret_variables,
                use_trigger_token=self.use_trigger_token,
                key_input=self.key_input,
            ),
            policy=policy_of(
                on_manual=self.on_manual,
                on_skipped=self.on_skipped,
                on_retry=self.on_retry,
                downstream=self.downstream,
                allow_warnings=self.allow_warnings,
                force_cancel=self.force_cancel,
            ),
            log=logs_of(self.log_jobs),
            outputs=dict(self.outputs or {}),
            require_key=self.exactly_once == "required",
        )

    def payload(
        self, context: Context, *, state: JobState, handle: JobHandle, result: Mapping[str, Json] | None
    ) -> dict[str, Any]:
        """What the task returns; a pipeline that was only started has no outputs yet.

        :raises AirflowSkipException: the pipeline was skipped, and ``on_skipped`` is ``skip``.
        """
        known = result or {
            "status": "created",
            "project": str(self.project),
            "project_id": handle.ref["project_id"],
            "pipeline_id": handle.ref["pipeline_id"],
            "ref": self.ref,
            "sha": None,
            "duration": None,
            "jobs": {},
            "warnings": [],
            "tests": None,
        }
        if known["status"] == "skipped" and self.on_skipped == "skip":
            raise AirflowSkipException(f"GitLab skipped pipeline {known['pipeline_id']}: {handle.url}")
        payload = super().payload(context, state=state, handle=handle, result=known)
        self._facts = payload
        return payload
