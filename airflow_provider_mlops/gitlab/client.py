"""Asynchronous GitLab client for exactly what waiting for a pipeline needs. I/O only.

No call is repeated here: the engine paces and repeats. Every failure is one of the error tree, and names
project and connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from airflow_provider_mlops.errors import RemoteObjectNotFound, RemoteUnavailable, SubmitUncertain
from airflow_provider_mlops.gitlab.access import GitlabAccess, project_path
from airflow_provider_mlops.gitlab.answers import answer_error, creation_error
from airflow_provider_mlops.gitlab.entities import Entity
from airflow_provider_mlops.http import async_client, date_of, redact

if TYPE_CHECKING:
    import httpx

PAGE = 100

#: Bytes of a log asked for at once; the server allows 512000.
LOG_WINDOW = 64 * 1024


@asynccontextmanager
async def open_client(access: GitlabAccess, project: str | int) -> AsyncIterator[GitlabClient]:
    """A client for one project, closed at the end.

    :raises InvalidArgument: ``project`` is neither a number nor a path.
    """
    path = project_path(project)
    headers = {"PRIVATE-TOKEN": access.token} if access.token else {}
    async with async_client(f"{access.url}/api/v4/", headers=headers, verify=access.verify) as http:
        yield GitlabClient(http, access, project, path)


class GitlabClient:
    """Calls of GitLab's REST API on one project. Made by :func:`open_client`."""

    def __init__(self, http: httpx.AsyncClient, access: GitlabAccess, project: str | int, path: str) -> None:
        self._http = http
        self._access = access
        self._project = f"projects/{path}"
        self._label = f"GitLab project {str(project)!r}"
        self._windows_supported: bool | None = None
        self._trigger_jobs = "trigger_jobs"
        #: GitLab's clock at its last answer to a question, if it told.
        self.told_time: datetime | None = None

    def elsewhere(self, project_id: int) -> GitlabClient:
        """A client for another project of the same server, which lives as long as this one."""
        other = GitlabClient(self._http, self._access, project_id, str(project_id))
        other._windows_supported = self._windows_supported
        other._trigger_jobs = self._trigger_jobs
        return other

    @property
    def has_token(self) -> bool:
        """Whether the connection has a token that reads, not only a trigger token."""
        return self._access.token is not None

    # --- reading ---------------------------------------------------------------------------------

    async def project(self) -> Entity:
        """The project itself. Costs from a small rate limit of its own: once per submission at most."""
        return await self._get("")

    async def user(self) -> Entity:
        """The account of the token."""
        response = await self._send("GET", "user", "account of the token")
        return self._entity(response, "account of the token")

    async def account(self, name: str) -> Entity | None:
        """The account of a user name, or ``None`` if it is not visible."""
        what = f"account {name!r}"
        response = await self._send("GET", "users", what, params={"username": name})
        rows = self._decode(response, what)
        return rows[0] if isinstance(rows, list) and rows else None

    async def read(self, path: str) -> Entity:
        """Whatever lies under the project at ``path``.

        :raises RemoteObjectNotFound: nothing does.
        """
        return await self._get(path)

    async def rows(self, path: str, *, pages: int = 1, **filters: str) -> list[Entity]:
        """A list under the project, in GitLab's order, at most ``pages`` times 100."""
        return await self._list(path, filters, pages)

    async def write(self, method: str, path: str, body: Entity) -> Entity:
        """Change something under the project; only for what may be asked twice, since an answer may be lost."""
        response = await self._send(method, self._url(path), path, body=body)
        return self._entity(response, path)

    async def pipeline(self, pipeline_id: int) -> Entity:
        """One pipeline.

        :raises RemoteObjectNotFound: it is not (or not yet) there.
        """
        return await self._get(f"pipelines/{pipeline_id}")

    async def pipelines(self, *, pages: int = 50, **filters: str) -> list[Entity]:
        """Pipelines that pass GitLab's own ``filters``, newest first, at most ``pages`` times 100."""
        return await self._list("pipelines", filters, pages)

    async def variables(self, pipeline_id: int) -> list[Entity]:
        """Variables that a pipeline was created with.

        :raises PermissionDenied: the account neither started the pipeline nor maintains the project.
        """
        return await self._list(f"pipelines/{pipeline_id}/variables", {}, 1)

    async def jobs(self, pipeline_id: int, *, retried: bool = False) -> list[Entity]:
        """Jobs of a pipeline: of retried ones the latest or, with ``retried``, all."""
        filters = {"include_retried": "true"} if retried else {}
        return await self._list(f"pipelines/{pipeline_id}/jobs", filters, 50)

    async def trigger_jobs(self, pipeline_id: int) -> list[Entity]:
        """Jobs that start other pipelines; ``bridges`` until GitLab 19.1."""
        try:
            return await self._list(f"pipelines/{pipeline_id}/{self._trigger_jobs}", {}, 5)
        except RemoteObjectNotFound:
            if self._trigger_jobs == "bridges":
                raise
            rows = await self._list(f"pipelines/{pipeline_id}/bridges", {}, 5)
            self._trigger_jobs = "bridges"
            return rows

    async def test_summary(self, pipeline_id: int) -> Entity:
        """Totals of the JUnit reports of a pipeline."""
        return await self._get(f"pipelines/{pipeline_id}/test_report_summary")

    async def log(self, job_id: int, offset: int, limit: int = LOG_WINDOW) -> bytes:
        """At most ``limit`` bytes of a job's log from ``offset`` on; empty at its end.

        Servers before 19.x ignore the window and send the whole log; that is noticed by asking for one byte,
        and the part is cut out here.
        """
        if self._windows_supported is None and offset > 0:
            # A log of one byte tells nothing; then the question is asked again.
            probe = await self._log_part(job_id, {"byte_offset": "0", "byte_limit": "1"}, 0, 2)
            if probe:
                self._windows_supported = len(probe) == 1
        if self._windows_supported is False:
            return await self._log_part(job_id, {}, offset, limit)
        window = {"byte_offset": str(offset), "byte_limit": str(limit)}
        part = await self._log_part(job_id, window, 0, limit + 1)
        if len(part) > limit:
            self._windows_supported = False
            return part[:limit] if offset == 0 else await self._log_part(job_id, {}, offset, limit)
        return part

    async def artifact(self, job_id: int, path: str, limit: int) -> bytes:
        """One file of a job's artifacts; of a larger one, ``limit + 1`` bytes.

        :raises RemoteObjectNotFound: no such file, or its artifacts have expired.
        """
        url = f"{self._project}/jobs/{job_id}/artifacts/{quote(path)}"
        return await self._download(url, {}, f"artifact {path!r} of job {job_id}", 0, limit + 1)

    # --- acting ----------------------------------------------------------------------------------

    async def create(
        self, ref: str, variables: Sequence[Mapping[str, str]], inputs: Mapping[str, Any]
    ) -> Entity:
        """Start a pipeline as the token's account.

        :raises SubmitUncertain: the answer was lost.
        """
        body: Entity = {"ref": ref}
        if variables:
            body["variables"] = [dict(variable) for variable in variables]
        if inputs:
            body["inputs"] = dict(inputs)
        return await self._create("pipeline", body, ref)

    async def trigger(self, ref: str, variables: Mapping[str, str], inputs: Mapping[str, Any]) -> Entity:
        """Start a pipeline with the connection's trigger token.

        :raises SubmitUncertain: the answer was lost.
        """
        body: Entity = {"ref": ref, "token": self._access.trigger_token}
        if variables:
            body["variables"] = dict(variables)
        if inputs:
            body["inputs"] = dict(inputs)
        return await self._create("trigger/pipeline", body, ref)

    async def rename(self, pipeline_id: int, name: str) -> None:
        """Give a pipeline another name."""
        await self._act("PUT", f"pipelines/{pipeline_id}/metadata", {"name": name})

    async def cancel(self, pipeline_id: int) -> None:
        """Cancel a pipeline and its children; says nothing if it is over already."""
        await self._act("POST", f"pipelines/{pipeline_id}/cancel")

    async def force_cancel(self, job_id: int) -> None:
        """End a job that hangs in ``canceling``.

        :raises PermissionDenied: the account may not; GitLab asks for the role Maintainer.
        """
        await self._act("POST", f"jobs/{job_id}/cancel?force=true")

    async def retry(self, pipeline_id: int) -> None:
        """Run the failed and cancelled jobs of a pipeline again, in the same pipeline."""
        await self._act("POST", f"pipelines/{pipeline_id}/retry")

    async def retry_job(self, job_id: int) -> None:
        """Run one job again; a trigger job starts a new downstream pipeline."""
        await self._act("POST", f"jobs/{job_id}/retry")

    async def play(self, job_id: int, variables: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
        """Start a manual job.

        :raises RequestRefused: it is not manual (any more).
        """
        body: Entity = {}
        if variables:
            body["job_variables_attributes"] = [
                {"key": key, "value": value} for key, value in variables.items()
            ]
        if inputs:
            body["job_inputs"] = dict(inputs)
        await self._act("POST", f"jobs/{job_id}/play", body)

    # --- transport -------------------------------------------------------------------------------

    async def _get(self, path: str) -> Entity:
        response = await self._send("GET", self._url(path), path)
        return self._entity(response, path)

    async def _list(self, path: str, filters: Mapping[str, str], pages: int) -> list[Entity]:
        rows: list[Entity] = []
        page = "1"
        for _ in range(pages):
            params = {**filters, "per_page": str(PAGE), "page": page}
            response = await self._send("GET", self._url(path), path, params=params)
            decoded = self._decode(response, path)
            if not isinstance(decoded, list):
                raise RemoteUnavailable(f"{self._what(path)}: the answer is not a list")
            rows += decoded
            page = response.headers.get("X-Next-Page", "")
            if not page:
                break
        return rows

    async def _act(self, method: str, path: str, body: Entity | None = None) -> None:
        await self._send(method, self._url(path), path, body=body)

    async def _create(self, path: str, body: Entity, ref: str) -> Entity:
        import httpx

        what = f"{self._label}, ref {ref!r}"
        try:
            response = await self._http.post(self._url(path), json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise self._unreachable(what, error) from error
        except httpx.RequestError as error:
            raise SubmitUncertain(
                f"{what}: the answer to the pipeline's creation was lost ({self._words(error)})"
            ) from (error)
        if response.status_code >= 500 or response.status_code == 408:
            raise SubmitUncertain(
                f"{what}: the server answered {response.status_code} to the pipeline's creation",
                status=response.status_code,
            )
        if not response.is_success:
            raise creation_error(
                what,
                response.status_code,
                self._text(response),
                headers=response.headers,
                conn_id=self._access.conn_id,
                by_trigger="token" in body,
            )
        try:
            return self._entity(response, path)
        except RemoteUnavailable as error:
            raise SubmitUncertain(f"{what}: the answer to the pipeline's creation cannot be read") from error

    async def _send(
        self,
        method: str,
        url: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Entity | None = None,
    ) -> httpx.Response:
        import httpx

        try:
            response = await self._http.request(method, url, params=params, json=body)
        except httpx.RequestError as error:
            raise self._unreachable(self._what(path), error) from error
        if not response.is_success:
            self._refuse(response, path, self._text(response))
        self.told_time = date_of(response.headers) or self.told_time
        return response

    async def _log_part(self, job_id: int, params: Mapping[str, str], skip: int, limit: int) -> bytes:
        url = self._url(f"jobs/{job_id}/trace")
        return await self._download(url, params, f"log of job {job_id}", skip, limit)

    async def _download(self, url: str, params: Mapping[str, str], what: str, skip: int, limit: int) -> bytes:
        import httpx

        try:
            async with self._http.stream("GET", url, params=params) as response:
                if response.next_request is None:
                    return await self._part(response, what, skip, limit)
                target = response.next_request.url
            # Object storage: the address itself holds the leave, and must not get the token.
            async with async_client(str(target), verify=self._access.verify) as storage:  # noqa: SIM117
                async with storage.stream("GET", target) as stored:
                    return await self._part(stored, what, skip, limit)
        except httpx.RequestError as error:
            raise self._unreachable(self._what(what), error) from error

    async def _part(self, response: httpx.Response, what: str, skip: int, limit: int) -> bytes:
        if not response.is_success:
            await response.aread()
            self._refuse(response, what, self._text(response))
        kept = bytearray()
        async for chunk in response.aiter_bytes():
            kept += chunk[skip:] if skip else chunk
            skip = max(skip - len(chunk), 0)
            if len(kept) >= limit:
                break
        return bytes(kept[:limit])

    def _url(self, path: str) -> str:
        return f"{self._project}/{path}" if path else self._project

    def _what(self, path: str) -> str:
        return f"{self._label}, {path}" if path else self._label

    def _entity(self, response: httpx.Response, path: str) -> Entity:
        decoded = self._decode(response, path)
        if not isinstance(decoded, dict):
            raise RemoteUnavailable(f"{self._what(path)}: the answer is not an object")
        return decoded

    def _decode(self, response: httpx.Response, path: str) -> Any:
        try:
            return response.json()
        except ValueError as error:
            # A proxy's page with status 200, or an answer cut short.
            raise RemoteUnavailable(f"{self._what(path)}: the answer is not JSON") from error

    def _refuse(self, response: httpx.Response, path: str, text: str) -> NoReturn:
        raise answer_error(
            self._what(path),
            response.status_code,
            text,
            headers=response.headers,
            conn_id=self._access.conn_id,
        )

    def _text(self, response: httpx.Response) -> str:
        return redact(response.text, *self._access.secrets)

    def _unreachable(self, what: str, error: Exception) -> RemoteUnavailable:
        return RemoteUnavailable(
            f"{what}: {self._access.url} cannot be reached ({self._words(error)})",
            conn_id=self._access.conn_id,
        )

    def _words(self, error: Exception) -> str:
        return redact(f"{type(error).__name__}: {error}".rstrip(": "), *self._access.secrets)
