"""What the stand-in copies from GitLab on purpose although it surprises, and what it leaves out.

The tests of the stand-in hold it to each quirk; a client that lives with all of them lives with GitLab.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quirk:
    """Something that surprises; ``switch`` names the knob or fault that brings it about, if it needs one."""

    where: str
    what: str
    switch: str | None = None


QUIRKS: tuple[Quirk, ...] = (
    # Creating
    Quirk(
        "create", "variables are an array of {key, value} for tokens, but a map of strings for trigger tokens"
    ),
    Quirk("create", "a wrong, foreign or expired trigger token answers 404, never 401 or 403"),
    Quirk("create", "a job token creates pipelines of source pipeline, while its job runs"),
    Quirk("create", "a request with the header of a pipeline webhook answers 403"),
    Quirk("create", "the answer shows status created, whatever happens meanwhile, and no name"),
    Quirk("create", "refusals are a 400 with a list in message.base, and nothing is made"),
    Quirk(
        "create",
        "with a trigger token a wrong configuration is a 422 and leaves a failed pipeline without jobs",
        "Knobs.broken_pipelines_saved",
    ),
    Quirk(
        "create",
        "pipeline variables may be forbidden altogether: 400; inputs stay",
        "Knobs.variables_forbidden",
    ),
    Quirk(
        "create",
        "the creation rate limit is a 400, not a 429",
        "Knobs.too_many_pipelines, Knobs.pipelines_per_minute",
    ),
    Quirk(
        "create",
        "inputs are checked and undeclared ones refused; old servers ignore inputs",
        "Knobs.inputs_supported",
    ),
    Quirk("create", "lists in inputs may be JSON text"),
    Quirk(
        "create", "there is no idempotency key; a lost answer leaves a pipeline", "Faults.reset(after=True)"
    ),
    # Reading
    Quirk("read", "a new pipeline may answer 404 for a while", "Knobs.hidden_after_create"),
    Quirk("read", "a new pipeline may look older than it is", "Knobs.stale_after_create"),
    Quirk("read", "a new pipeline may be missing from lists", "Knobs.list_lag"),
    Quirk(
        "read", "statuses and failure reasons may be unknown ones", "Knobs.statuses, Knobs.failure_reasons"
    ),
    Quirk("read", "a finished pipeline runs again, under its id, after a retry or a play"),
    Quirk("read", "allowed failures leave the pipeline success; detailed_status says passed with warnings"),
    Quirk("read", "updated_at of a pipeline stands still while its jobs move and its own status does not"),
    Quirk("read", "child pipelines are missing from lists unless source=parent_pipeline is asked for"),
    Quirk("read", "only its creator and maintainers see a pipeline's variables", "Knobs.variables_hidden"),
    Quirk("read", "an answer that has not changed is a 304 to those who send its ETag"),
    # Jobs
    Quirk("jobs", "bridges are not among the jobs; bridges became trigger_jobs", "Knobs.trigger_jobs"),
    Quirk("jobs", "a bridge's downstream_pipeline is null until it is made", "Knobs.downstream_after"),
    Quirk("jobs", "without strategy: depend a bridge succeeds whatever becomes of its pipeline"),
    Quirk("jobs", "a retry in a child takes the parent back to running"),
    Quirk(
        "jobs", "include_retried shows old attempts, but nothing marks them: the highest id per name counts"
    ),
    Quirk("jobs", "failure_reason exists on failed jobs only"),
    Quirk("jobs", "when: manual holds the pipeline up inside of rules, and does not outside of them"),
    Quirk("jobs", "a job that needs a manual job which nobody played is skipped"),
    Quirk("jobs", "jobs of one resource_group wait for each other, also across pipelines"),
    # Acting
    Quirk("act", "cancel answers 200 also when there is nothing to cancel, and reaches child pipelines"),
    Quirk("act", "cancel of a running job shows canceling, and may stay there", "Knobs.canceling_for"),
    Quirk("act", "after_script runs after a cancel too"),
    Quirk("act", "job variables of play are an array named job_variables_attributes in the body"),
    Quirk("act", "erasing and deleting answer 409 while statistics are refreshed", "Knobs.stats_refreshing"),
    # Logs
    Quirk("log", "lines carry a 32-byte prefix; continued lines a plus sign", "Knobs.trace_timestamps"),
    Quirk("log", "byte windows came late; older servers send everything", "Knobs.trace_windows"),
    Quirk("log", "the runner sends what is new only now and then", "Knobs.trace_every"),
    Quirk(
        "log", "past its limit the runner drops the rest of the log, and the job goes on", "Knobs.trace_limit"
    ),
    Quirk("log", "a window may cut a character, and holds 512 000 bytes at most"),
    Quirk("log", "the log may grow after the job has ended", "LateLog, Knobs.trace_late"),
    Quirk("log", "archiving may move all offsets", "ShiftLog, Knobs.trace_shift"),
    # Artifacts
    Quirk(
        "artifacts",
        "dotenv and JUnit reports cannot be downloaded unless they are in paths too; some servers know file_type",
        "Knobs.reports_downloadable",
    ),
    Quirk(
        "artifacts",
        "downloads may be redirected to a storage of another origin, which wants no token",
        "Knobs.artifacts_redirect, Knobs.storage_refuses_tokens",
    ),
    Quirk("artifacts", "artifacts expire, as expire_in says or at once: 404", "Knobs.artifacts_expired"),
    Quirk("artifacts", "by ref, those of the newest successful pipeline are sent, whichever that is"),
    # Commits and merge requests
    Quirk("commits", "a stale last_commit_id is a 400, with different words in commits and in files"),
    Quirk("commits", "a second merge request of the same branches is a 409, a wrong sha at merge too"),
    Quirk("commits", "a merge may wait for its pipeline, and is called off when that fails"),
    Quirk("commits", "saying pending or running twice for a commit status is a 400"),
    # Access and limits
    Quirk("access", "what a token may not see is a 404, what its scope does not open a 403"),
    Quirk("access", "a trigger token reads nothing; a job token creates, cancels and retries nothing"),
    Quirk("access", "a token may expire in the middle: 401", "Faults.unauthorized"),
    Quirk(
        "access",
        "a moved project redirects reads and answers 405 to writes; proxies may redirect those too",
        "Faults.redirect",
    ),
    Quirk(
        "limits",
        "a token's limit answers 429 with headers; Retry-After may be a date",
        "Knobs.requests_per_minute, Faults.rate_limit",
    ),
    Quirk(
        "limits",
        "limits of single endpoints answer 429 without any header",
        "Knobs.jobs_index_per_minute, Knobs.project_per_minute, Knobs.lint_per_minute, Faults.rate_limit",
    ),
    Quirk(
        "limits",
        "totals are missing above 10 000 rows and for jobs of a project; per_page=0 is a 400",
        "Knobs.hide_total_headers",
    ),
    Quirk("limits", "jobs of a project come by keyset, where only Link leads on; pipelines never do"),
    Quirk("hooks", "a webhook that keeps failing is disabled until it is saved again"),
)

LACKING: tuple[str, ...] = (
    "roles and protected branches: a token with scope api may do everything in the projects that it sees",
    "anonymous access: every request without credentials answers 401, also where GitLab would say 404",
    "pipelines made by pushes, schedules and merge requests: commits start nothing",
    "the TRIGGER_PAYLOAD variable of pipelines that a trigger token made",
    "rules:changes is always true, as for pipelines of the API; only and except are refused",
    "include of anything but local files, components, and needs of other pipelines or projects",
    "images, services, caches, runner tags, environments, secrets: accepted and ignored, jobs run in bash",
    "interruptible, auto_cancel and job inputs: accepted and ignored",
    "resource groups have one order, oldest first",
    "line merges: a merge request conflicts when both sides changed the same file; forks, approvals, squashing",
    "webhooks of anything but pipelines and jobs",
    "GraphQL, granular token permissions, access to the repository over HTTP (use its folder)",
    "memory: pipelines, tokens and merge requests end with the process; repositories stay",
)
