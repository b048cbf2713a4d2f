"""GitLab from a worker: python-gitlab with timeouts, safe retries and this package's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.base.hook import MlopsHook
from airflow_provider_mlops.errors import ConnectionIncomplete, RemoteUnavailable
from airflow_provider_mlops.gitlab.access import GitlabAccess
from airflow_provider_mlops.gitlab.answers import answer_error
from airflow_provider_mlops.gitlab.repository import Repository
from airflow_provider_mlops.http import READ_TIMEOUT, redact

if TYPE_CHECKING:
    import requests
    from gitlab import Gitlab

_RETRIES = 4
_RETRIED_STATUSES = (500, 502, 503, 504, 520, 521, 522, 523, 524)


class GitlabHook(MlopsHook):
    """Gives a `python-gitlab <https://python-gitlab.readthedocs.io>`__ client for a connection.

    Use it in your own tasks for whatever has no operator::

        hook = GitlabHook()
        with hook.errors("project 'ml/search'"):
            hook.client.projects.get("ml/search", lazy=True).branches.list(get_all=True)

    :param gitlab_conn_id: connection of type ``gitlab``.
    """

    conn_name_attr = "gitlab_conn_id"
    default_conn_name = "gitlab_default"
    conn_type = "gitlab"
    hook_name = "GitLab"

    def __init__(self, gitlab_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gitlab_conn_id = gitlab_conn_id

    @cached_property
    def access(self) -> GitlabAccess:
        """The connection's fields, checked.

        :raises ConnectionMissing: there is no such connection.
        :raises ConnectionIncomplete: no host, or a token that would travel over plain http.
        """
        return GitlabAccess.from_connection(self.info)

    @cached_property
    def client(self) -> Gitlab:
        """The client. Every request has a timeout; reads are repeated after 5xx, writes never are.

        ``429`` is obeyed for both: GitLab has done nothing then.

        :raises ConnectionIncomplete: the connection has no access token.
        """
        import gitlab

        access = self.access
        if access.token is None:
            raise ConnectionIncomplete(
                f"Connection {self.gitlab_conn_id!r} has no access token", conn_id=self.gitlab_conn_id
            )
        return gitlab.Gitlab(
            access.url,
            private_token=access.token,
            ssl_verify=access.verify,
            timeout=READ_TIMEOUT,
            # Behind a proxy, page links may carry an address that only the server knows.
            keep_base_url=True,
            retry_transient_errors=False,
            session=_session(),
        )

    def repository(self, project: str | int) -> Repository:
        """Branches, files and commits of a project.

        :param project: number or full path.
        :raises InvalidArgument: ``project`` is neither.
        :raises ConnectionIncomplete: the connection has no access token.
        """
        return Repository(self.client, project, self.errors)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Translate python-gitlab's errors into this package's, inside a ``with`` block.

        :param what: what is being asked, as the start of a sentence.
        """
        import requests
        from gitlab.exceptions import GitlabError

        try:
            yield
        except GitlabError as error:
            if error.response_code is None:
                raise RemoteUnavailable(
                    f"{what}: {self._words(error)}", conn_id=self.gitlab_conn_id
                ) from error
            body = error.response_body or str(error.error_message)
            text = body.decode(errors="replace") if isinstance(body, bytes) else body
            raise answer_error(
                what,
                error.response_code,
                redact(text, *self.access.secrets),
                headers={},
                conn_id=self.gitlab_conn_id,
            ) from error
        except requests.RequestException as error:
            raise RemoteUnavailable(
                f"{what}: {self.access.url} cannot be reached ({self._words(error)})",
                conn_id=self.gitlab_conn_id,
            ) from error

    def check(self) -> str:
        """See :class:`MlopsHook`."""
        access = self.access
        if access.token is None:
            raise ConnectionIncomplete(
                f"Connection {self.gitlab_conn_id!r} has no access token"
                + (
                    " (a trigger token cannot be tested: GitLab only lets it start pipelines)"
                    if access.trigger_token
                    else ""
                ),
                conn_id=self.gitlab_conn_id,
            )
        with self.errors(f"GitLab {access.url}"):
            user = self.client.http_get("/user")
        name = user.get("username") if isinstance(user, dict) else None
        if not name:
            raise RemoteUnavailable(f"GitLab {access.url}: what answers there is not GitLab's API")
        return f"{access.url} answers; the token belongs to {name}"

    def _words(self, error: Exception) -> str:
        return redact(f"{type(error).__name__}: {error}", *self.access.secrets)


def _session() -> requests.Session:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=_RETRIES,
        allowed_methods=("GET", "HEAD"),
        status_forcelist=_RETRIED_STATUSES,
        backoff_factor=0.5,
        raise_on_status=False,
        # 429 is python-gitlab's own business; 503 with a long Retry-After must not block a worker.
        respect_retry_after_header=False,
    )
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session
