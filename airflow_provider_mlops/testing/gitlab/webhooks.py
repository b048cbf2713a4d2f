"""Webhooks: telling others that a pipeline or a job moved."""

from __future__ import annotations

import json
import logging
import queue
import secrets
import threading
import urllib.request
import uuid
from typing import Any

from airflow_provider_mlops.testing.gitlab.hook_payloads import HookPayloads
from airflow_provider_mlops.testing.gitlab.model import Hook, Pipeline

log = logging.getLogger(__name__)

TIMEOUT = 10.0


class Webhooks:
    """Sends one event after the other, from a thread that starts with the first.

    :param url: The server's address.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._payloads = HookPayloads(url)
        self._closing = False
        self._shown: dict[int, str] = {}
        self._queue: queue.Queue[tuple[Hook, dict[str, str], bytes] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def look(self, pipeline: Pipeline) -> None:
        """Tell of every status in a pipeline that is not what it was; to be called under the store's lock."""
        project = pipeline.project
        if not project.hooks:
            return
        if self._moved(pipeline.id, pipeline.status):
            for hook in project.hooks.values():
                if hook.pipeline_events:
                    self._send(hook, "Pipeline Hook", self._payloads.pipeline(pipeline))
        for job in pipeline.jobs:
            if job.is_bridge or not self._moved(job.id, job.status):
                continue
            for hook in project.hooks.values():
                if hook.job_events:
                    self._send(hook, "Job Hook", self._payloads.job(job))

    def _moved(self, number: int, status: str) -> bool:
        before = self._shown.get(number)
        self._shown[number] = status
        return before != status

    def _send(self, hook: Hook, event: str, payload: dict[str, Any]) -> None:
        if not hook.executable:
            return
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitLab/stand-in",
            "X-Gitlab-Event": event,
            "X-Gitlab-Instance": self._url,
            "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),
            "X-Gitlab-Event-UUID": str(uuid.uuid4()),
            "Idempotency-Key": secrets.token_hex(16),
        }
        if hook.token:
            headers["X-Gitlab-Token"] = hook.token
        self._queue.put((hook, headers, json.dumps(payload).encode()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gitlab-webhooks", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while (item := self._queue.get()) is not None and not self._closing:
            hook, headers, body = item
            request = urllib.request.Request(hook.url, body, headers)
            try:
                opener.open(request, timeout=TIMEOUT).close()
                hook.failures = 0
            except (OSError, ValueError) as error:
                hook.failures += 1
                log.warning("webhook %s failed: %s", hook.id, error)

    def close(self) -> None:
        """Send nothing any more."""
        if self._thread is not None:
            self._closing = True
            self._queue.put(None)
            self._thread.join(TIMEOUT)
            self._thread = None
