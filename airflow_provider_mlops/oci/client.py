"""One repository of a registry, over the distribution API."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests

from airflow_provider_mlops.errors import MlopsError, RemoteUnavailable
from airflow_provider_mlops.http import CONNECT_TIMEOUT, READ_TIMEOUT, retry_after, status_error
from airflow_provider_mlops.oci.auth import RegistryAuth
from airflow_provider_mlops.oci.errors import DigestMismatch, ImageNotFound
from airflow_provider_mlops.oci.image_store import CHUNK, MANIFEST_TYPES, ImageStore, Manifest
from airflow_provider_mlops.oci.reference import is_digest

_ATTEMPTS = 4
#: A longer wait than this is left to the task's retry, so that the worker slot is free meanwhile.
_LONGEST_WAIT = timedelta(seconds=10)
_PAGE = 1000


class RegistryRepository:
    """An :class:`~airflow_provider_mlops.oci.image_store.ImageStore` in a registry.

    Calls that may be repeated (GET, HEAD, and PUT of a manifest, which is the same whenever it arrives)
    are tried again when the connection breaks or the registry answers 429 or 5xx; the others are not.

    :param base_url: scheme, host and port of the registry.
    :param path: path of the repository in it.
    :param verify: ``False`` to accept any certificate, or the path of a CA bundle.
    :param sleep: replaced in tests.
    """

    def __init__(
        self,
        base_url: str,
        path: str,
        *,
        login: str | None = None,
        password: str | None = None,
        conn_id: str | None = None,
        verify: bool | str = True,
        allow_http: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._path = path
        self._conn_id = conn_id
        self._sleep = sleep
        self._auth = RegistryAuth(base_url, login, password, conn_id=conn_id, allow_http=allow_http)
        self._session = requests.Session()
        self._session.verify = verify
        self._session.auth = self._auth

    def __repr__(self) -> str:
        return f"<RegistryRepository {self.repository}>"

    @property
    def repository(self) -> str:
        """``host/path``."""
        return f"{urlsplit(self._base_url).netloc}/{self._path}"

    def ping(self) -> None:
        """Ask for the API's root, with the credentials.

        :raises MlopsError: why the registry cannot be used.
        """
        host = urlsplit(self._base_url).netloc
        response = self._call("GET", "/v2/", what=f"Registry {host}")
        self._expect(response, f"Registry {host}", 200)

    def digest_of(self, selector: str) -> str | None:
        """See :class:`ImageStore`."""
        what = f"Image {self._name(selector)}"
        response = self._call("HEAD", self._manifest_url(selector), what=what, headers=_ACCEPT)
        if response.status_code == 404:
            return None
        self._expect(response, what, 200)
        digest = response.headers.get("Docker-Content-Digest")
        if digest is None:
            # The header is optional in the specification; the content is not.
            return self.get_manifest(selector).digest
        if is_digest(selector) and digest != selector:
            raise DigestMismatch(f"{what}: the registry answers with {digest}")
        return digest

    def get_manifest(self, selector: str) -> Manifest:
        """See :class:`ImageStore`."""
        what = f"Image {self._name(selector)}"
        response = self._call("GET", self._manifest_url(selector), what=what, headers=_ACCEPT)
        if response.status_code == 404:
            raise ImageNotFound(f"{what} is not there", repository=self.repository, selector=selector)
        self._expect(response, what, 200)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        manifest = Manifest.of(response.content, media_type)
        claimed = selector if is_digest(selector) else response.headers.get("Docker-Content-Digest")
        if claimed and claimed != manifest.digest:
            raise DigestMismatch(f"{what}: received {manifest.digest} instead of {claimed}")
        return manifest

    def put_manifest(self, manifest: Manifest, selector: str) -> None:
        """See :class:`ImageStore`."""
        what = f"Image {self._name(selector)}"
        response = self._call(
            "PUT",
            self._manifest_url(selector),
            what=what,
            data=manifest.content,
            headers={"Content-Type": manifest.media_type},
        )
        self._expect(response, what, 201)
        kept = response.headers.get("Docker-Content-Digest", manifest.digest)
        if kept != manifest.digest:
            raise DigestMismatch(f"{what}: the registry kept {kept} instead of {manifest.digest}")

    def tags(self) -> list[str]:
        """See :class:`ImageStore`."""
        what = f"Tags of {self.repository}"
        found: list[str] = []
        url: str | None = f"/v2/{self._path}/tags/list?n={_PAGE}"
        while url:
            response = self._call("GET", url, what=what)
            if response.status_code == 404:
                return []
            self._expect(response, what, 200)
            # A repository without tags answers null.
            found.extend(response.json().get("tags") or [])
            url = response.links.get("next", {}).get("url")
        return found

    def has_blob(self, digest: str) -> bool:
        """See :class:`ImageStore`."""
        what = f"Blob {digest} of {self.repository}"
        response = self._call("HEAD", self._blob_url(digest), what=what)
        if response.status_code == 404:
            return False
        self._expect(response, what, 200)
        return True

    def read_blob(self, digest: str) -> Iterator[bytes]:
        """See :class:`ImageStore`."""
        what = f"Blob {digest} of {self.repository}"
        with self._call("GET", self._blob_url(digest), what=what, stream=True) as response:
            if response.status_code == 404:
                raise ImageNotFound(f"{what} is not there", repository=self.repository, selector=digest)
            self._expect(response, what, 200)
            found = hashlib.sha256()
            try:
                for piece in response.iter_content(CHUNK):
                    found.update(piece)
                    yield piece
            except requests.RequestException as error:
                raise RemoteUnavailable(f"{what}: the download broke off ({type(error).__name__})") from error
        if f"sha256:{found.hexdigest()}" != digest:
            raise DigestMismatch(f"{what}: received sha256:{found.hexdigest()}")

    def write_blob(self, digest: str, source: BinaryIO) -> None:
        """See :class:`ImageStore`."""
        if self.has_blob(digest):
            return
        what = f"Upload of blob {digest} to {self.repository}"
        upload = self._start_upload(what)
        response = self._send(
            "PUT",
            upload,
            what=what,
            params={"digest": digest},
            data=source,
            headers={"Content-Type": "application/octet-stream"},
        )
        self._expect(response, what, 201)

    def take_blob(self, digest: str, source: ImageStore) -> bool:
        """See :class:`ImageStore`: works between repositories of one registry, if the registry wants to."""
        if not isinstance(source, RegistryRepository) or source._base_url != self._base_url:
            return False
        what = f"Blob {digest} of {self.repository}"
        response = self._send(
            "POST",
            f"/v2/{self._path}/blobs/uploads/",
            what=what,
            params={"mount": digest, "from": source._path},
        )
        if response.status_code == 202:
            self._drop_upload(self._location(response, what), what)
            return False
        self._expect(response, what, 201)
        return True

    def check_writable(self) -> None:
        """See :class:`ImageStore`. An upload is opened and dropped, which needs the right to push."""
        what = f"Push to {self.repository}"
        self._drop_upload(self._start_upload(what), what)

    def _start_upload(self, what: str) -> str:
        response = self._send("POST", f"/v2/{self._path}/blobs/uploads/", what=what)
        self._expect(response, what, 202)
        return self._location(response, what)

    def _drop_upload(self, upload: str, what: str) -> None:
        response = self._call("DELETE", upload, what=what)
        # Some registries have no way to drop an upload; they forget it after a while.
        if response.status_code not in (204, 404, 405):
            self._expect(response, what, 204)

    def _location(self, response: requests.Response, what: str) -> str:
        try:
            return urljoin(f"{self._base_url}/", response.headers["Location"])
        except KeyError as error:
            raise RemoteUnavailable(f"{what}: the registry opened an upload without saying where") from error

    def _name(self, selector: str) -> str:
        return f"{self.repository}{'@' if is_digest(selector) else ':'}{selector}"

    def _manifest_url(self, selector: str) -> str:
        return f"/v2/{self._path}/manifests/{selector}"

    def _blob_url(self, digest: str) -> str:
        return f"/v2/{self._path}/blobs/{digest}"

    def _expect(self, response: requests.Response, what: str, status: int) -> None:
        if response.status_code != status:
            raise self._error(response, what)

    def _error(self, response: requests.Response, what: str) -> MlopsError:
        return status_error(
            what, response.status_code, headers=response.headers, body=response.text, conn_id=self._conn_id
        )

    def _call(self, method: str, url: str, *, what: str, **options: Any) -> requests.Response:
        """Send something that may be repeated; the last answer is returned whatever it says."""
        for attempt in range(1, _ATTEMPTS + 1):
            wait = timedelta(seconds=0.25 * 2**attempt)
            try:
                response = self._send(method, url, what=what, **options)
            except RemoteUnavailable:
                if attempt == _ATTEMPTS:
                    raise
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return response
                wait = retry_after(response.headers) or wait
                if attempt == _ATTEMPTS or wait > _LONGEST_WAIT:
                    raise self._error(response, what)
            self._sleep(wait.total_seconds())
        raise AssertionError("unreachable")

    def _send(self, method: str, url: str, *, what: str, **options: Any) -> requests.Response:
        """Send once; a challenge is answered and the request sent again, which the registry had refused."""
        try:
            response = self._transfer(method, url, **options)
            challenge = response.headers.get("WWW-Authenticate", "")
            if response.status_code == 401 and self._auth.answer(self._session, challenge, what=what):
                if hasattr(options.get("data"), "seek"):
                    options["data"].seek(0)
                response = self._transfer(method, url, **options)
        except requests.RequestException as error:
            raise RemoteUnavailable(
                f"{what}: no answer from {urlsplit(self._base_url).netloc} ({_cause(error)})",
                conn_id=self._conn_id,
            ) from error
        return response

    def _transfer(self, method: str, url: str, **options: Any) -> requests.Response:
        return self._session.request(
            method, urljoin(f"{self._base_url}/", url), timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), **options
        )


_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}


def _cause(error: requests.RequestException) -> str:
    """The innermost reason; the outer texts repeat the URL, which may carry a token service's parameters."""
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return f"{type(error).__name__}: {inner}" if inner is not error else type(error).__name__
