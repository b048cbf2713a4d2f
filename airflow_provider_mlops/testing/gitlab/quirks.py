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
    Quirk(
        "create", "variables are an array of {key, value} for tokens, but a map of strings for trigger tokens"
    ),
    Quirk("create", "a wrong trigger token answers 404, never 401 or 403"),
    Quirk("create", "a job token creates pipelines of source pipeline, while its job runs"),
    Quirk("create", "a request with the header of a pipeline webhook answers 403"),
    Quirk("create", "the answer shows status created, whatever happens meanwhile"),
    Quirk(
        "create",
        "every refusal of the configuration is a 400 with a list in message.base, and nothing is made",
    ),
    Quirk("create", "pipeline variables may be forbidden altogether: 400", "Knobs.variables_forbidden"),
    Quirk("create", "the creation rate limit is a 400, not a 429", "Knobs.too_many_pipelines"),
    Quirk("create", "old servers ignore inputs", "Knobs.inputs_supported"),
    Quirk(
        "create", "there is no idempotency key; a lost answer leaves a pipeline", "Faults.reset(after=True)"
    ),
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
    Quirk("jobs", "bridges are not among the jobs; bridges became trigger_jobs", "Knobs.trigger_jobs"),
    Quirk(
        "jobs", "include_retried shows old attempts, but nothing marks them: the highest id per name counts"
    ),
    Quirk("jobs", "failure_reason exists on failed jobs only"),
    Quirk("jobs", "when: manual holds the pipeline up inside of rules, and does not outside of them"),
    Quirk("jobs", "a job that needs a manual job which nobody played is skipped"),
    Quirk("act", "cancel answers 200 also when there is nothing to cancel"),
    Quirk("act", "cancel of a running job shows canceling, and may stay there", "Knobs.canceling_for"),
    Quirk("act", "after_script runs after a cancel too"),
    Quirk("act", "retry of a pipeline leaves bridges alone; retry of a child lets its bridge run again"),
    Quirk("act", "cancel reaches child pipelines, but not those of other projects"),
    Quirk("act", "job variables of play are an array named job_variables_attributes in the body"),
    Quirk("log", "lines carry a 32-byte prefix; continued lines a plus sign", "Knobs.trace_timestamps"),
    Quirk("log", "byte windows came late; older servers send everything", "Knobs.trace_windows"),
    Quirk("log", "past 4 MiB the runner drops the rest of the log, and the job goes on"),
    Quirk("log", "a window may cut a character, and holds 512 000 bytes at most"),
    Quirk("log", "the log may grow after the job has ended", "LateLog"),
    Quirk("log", "archiving may move all offsets", "ShiftLog"),
    Quirk("artifacts", "dotenv and JUnit reports cannot be downloaded unless they are in paths too"),
    Quirk(
        "artifacts",
        "downloads may be redirected to a storage that wants no token",
        "Knobs.artifacts_redirect",
    ),
    Quirk("artifacts", "artifacts expire: 404", "Knobs.artifacts_expired"),
    Quirk("commits", "a stale last_commit_id is a 400, with different words in commits and in files"),
    Quirk("commits", "a second merge request of the same branches is a 409, a wrong sha at merge too"),
    Quirk("commits", "saying pending or running twice for a commit status is a 400"),
    Quirk("limits", "429 comes with or without headers; Retry-After may be a date", "Faults.rate_limit"),
    Quirk("limits", "totals are missing on long lists; per_page=0 is a 400", "Knobs.hide_total_headers"),
    Quirk("limits", "a moved project redirects, and a redirected POST is not repeated", "Faults.redirect"),
)

LACKING: tuple[str, ...] = (
    "roles and protected branches: a token with scope api may do everything, one with read_api may read",
    "pipelines made by pushes and merge requests: commits start nothing",
    "rules:changes is always true, as for pipelines of the API; only and except are refused",
    "include of anything but local files, components, and needs of other pipelines or projects",
    "images, services, caches, runner tags, environments, secrets: accepted and ignored, jobs run in bash",
    "resource_group and interruptible: accepted and ignored",
    "line merges: a merge request conflicts when both sides changed the same file",
    "GraphQL, webhooks, keyset paging, access to the repository over HTTP (use its folder)",
    "memory: pipelines, tokens and merge requests end with the process; repositories stay",
)
