"""Statuses of jobs and pipelines, and how jobs add up."""

from __future__ import annotations

from collections.abc import Iterable

COMPLETE = frozenset({"success", "failed", "canceled", "skipped"})
JOB_STATUSES = (
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "success",
    "failed",
    "canceling",
    "canceled",
    "skipped",
    "manual",
    "scheduled",
)
RETRYABLE = frozenset({"success", "failed", "canceled"})
PLAYABLE = frozenset({"manual", "scheduled"})
_KNOWN = frozenset(JOB_STATUSES)


def combined(jobs: Iterable[tuple[str, bool]]) -> str:
    """The status of a set of jobs, given as (status, allow_failure).

    An allowed failure counts as success; a manual job that may be left alone counts as nothing, and a status
    that is not known counts as running.
    """
    seen: set[str] = set()
    for status, allowed in jobs:
        if allowed and status == "manual":
            seen.add("ignored")
        elif allowed and status in ("failed", "canceled"):
            seen.add("success")
        else:
            seen.add(status if status in _KNOWN else "running")

    def only(*names: str) -> bool:
        return seen <= {*names, "ignored"}

    if only("skipped"):
        return "skipped"
    if only("success", "skipped"):
        return "success"
    if "canceling" in seen:
        return "canceling"
    if only("created"):
        return "created"
    if only("canceled", "success", "skipped"):
        return "canceled"
    if only("pending", "created", "skipped"):
        return "pending"
    if seen & {"running", "pending"}:
        return "running"
    for status in ("waiting_for_resource", "waiting_for_callback", "manual", "scheduled", "preparing"):
        if status in seen:
            return status
    return "running" if "created" in seen else "failed"


def detailed(status: str, warnings: bool, path: str) -> dict[str, object]:
    """The ``detailed_status`` entity."""
    text, label, group = status, status, status
    if status == "success":
        text, label, group = ("passed", "passed", "success")
        if warnings:
            text, label, group = ("warning", "passed with warnings", "success-with-warnings")
    elif status == "manual":
        text, label = "blocked", "waiting for manual action"
    return {
        "icon": f"status_{'warning' if warnings and status == 'success' else status}",
        "text": text.capitalize(),
        "label": label,
        "group": group,
        "tooltip": label,
        "has_details": True,
        "details_path": path,
        "illustration": None,
        "favicon": f"/assets/ci_favicons/favicon_status_{status}.png",
    }
