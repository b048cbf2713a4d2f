"""Test reports of a pipeline: their sums, and every case."""

from __future__ import annotations

from typing import Any

from airflow_provider_mlops.testing.gitlab.artifacts import TestReport
from airflow_provider_mlops.testing.gitlab.model import Pipeline

_COUNTED = ("success", "failed", "skipped", "error")


def _suite(name: str, report: TestReport) -> dict[str, Any]:
    return {
        "name": name,
        "total_time": sum(case.seconds for case in report.cases),
        "total_count": len(report.cases),
        **{f"{status}_count": report.count(status) for status in _COUNTED},
        "suite_error": report.error,
    }


def summary(pipeline: Pipeline) -> dict[str, Any]:
    """What ``test_report_summary`` answers."""
    suites = [
        {**_suite(job.name, job.tests), "build_ids": [job.id]}
        for job in pipeline.latest()
        if job.tests is not None
    ]
    return {
        "total": {
            "time": sum(suite["total_time"] for suite in suites),
            "count": sum(suite["total_count"] for suite in suites),
            **{status: sum(suite[f"{status}_count"] for suite in suites) for status in _COUNTED},
            "suite_error": next((suite["suite_error"] for suite in suites if suite["suite_error"]), None),
        },
        "test_suites": suites,
    }


def full(pipeline: Pipeline) -> dict[str, Any]:
    """What ``test_report`` answers."""
    suites = []
    for job in pipeline.latest():
        if job.tests is None:
            continue
        cases = [
            {
                "status": case.status,
                "name": case.name,
                "classname": case.classname,
                "file": None,
                "execution_time": case.seconds,
                "system_output": case.output,
                "stack_trace": None,
                "recent_failures": None,
            }
            for case in job.tests.cases
        ]
        suites.append({**_suite(job.name, job.tests), "test_cases": cases})
    totals = ("total_time", "total_count", *(f"{status}_count" for status in _COUNTED))
    return {**{key: sum(suite[key] for suite in suites) for key in totals}, "test_suites": suites}
