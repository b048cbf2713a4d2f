"""What tasks say of themselves in GitLab: the status of a commit, a comment on a merge request. I/O only."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_mlops.errors import PermissionDenied, RemoteObjectNotFound, RequestRefused
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.http import redact

log = logging.getLogger(__name__)

#: Longest name, description and target URL of a commit status.
_STATUS_TEXT = 255

#: Pages of comments that are looked through for an earlier one of the same task.
_NOTE_PAGES = 20


async def set_commit_status(
    client: GitlabClient,
    sha: str,
    *,
    state: str,
    name: str,
    description: str = "",
    target_url: str | None = None,
    hidden: tuple[str, ...] = (),
) -> None:
    """Put a status on a commit. Said twice, it stays as it is.

    :param state: one of GitLab's words.
    :param target_url: left out if it is longer than GitLab takes.
    :param hidden: texts that must not get into the description.
    """
    body: dict[str, Any] = {"state": state, "name": name[:_STATUS_TEXT]}
    if description:
        body["description"] = redact(description, *hidden)[:_STATUS_TEXT]
    if target_url and len(target_url) <= _STATUS_TEXT:
        body["target_url"] = target_url
    try:
        await client.write("POST", f"statuses/{sha}", body)
    except RequestRefused as error:
        # GitLab refuses to go from running to running, as a retry does, or back to pending.
        if "cannot transition" not in error.message.lower():
            raise
        log.info("The status %r of commit %s stays as it is: %s", name, sha[:12], error.message)


async def put_comment(
    client: GitlabClient, iid: int, body: str, *, marker: str, hidden: tuple[str, ...] = ()
) -> None:
    """Comment on a merge request, in place of the earlier comment with the same marker.

    :param marker: an HTML comment, which GitLab does not show.
    :param hidden: texts that must not get into the comment.
    """
    notes = f"merge_requests/{iid}/notes"
    text = f"{redact(body, *hidden).rstrip()}\n\n{marker}"
    rows = await client.rows(notes, pages=_NOTE_PAGES, sort="desc", order_by="created_at")
    earlier = next((row for row in rows if marker in (row.get("body") or "")), None)
    if earlier is not None:
        try:
            await client.write("PUT", f"{notes}/{earlier['id']}", {"body": text})
        except (PermissionDenied, RemoteObjectNotFound) as error:
            # Somebody else's words that quote the marker, or removed just now.
            log.info("Comment %s cannot be changed, so a new one is added: %s", earlier["id"], error.message)
        else:
            return
    await client.write("POST", notes, {"body": text})
