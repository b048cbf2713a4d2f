"""How a registry wants to be asked: nothing, Basic, or a Bearer token from its token service."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from requests.auth import AuthBase

from airflow_provider_mlops.errors import ConnectionIncomplete, CredentialsRejected
from airflow_provider_mlops.http import CONNECT_TIMEOUT, READ_TIMEOUT, status_error
from airflow_provider_mlops.oci.reference import may_use_http

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Challenge:
    """A parsed ``WWW-Authenticate`` header."""

    scheme: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """Read the first challenge of the header; the scheme is lower-cased."""
        scheme, _, rest = header.strip().partition(" ")
        return cls(scheme.lower(), {name.lower(): value for name, value in _PARAMETER.findall(rest)})


class RegistryAuth(AuthBase):
    """Adds the credentials that the registry asked for, to requests to that registry only.

    Being the session's ``auth`` it also keeps requests from taking a password out of ``~/.netrc``.

    :param origin: scheme, host and port that may see the credentials.
    :param login: user name; without it the registry is used anonymously.
    """

    def __init__(
        self,
        origin: str,
        login: str | None,
        password: str | None,
        *,
        conn_id: str | None = None,
        allow_http: bool = False,
    ) -> None:
        self._origin = urlsplit(origin)[:2]
        self._login = login
        self._password = password
        self._conn_id = conn_id
        self._allow_http = allow_http
        self._header: str | None = None

    def __repr__(self) -> str:
        return f"<RegistryAuth {self._origin[1]} login={self._login!r}>"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Called by requests before it sends."""
        if self._header and urlsplit(request.url or "")[:2] == self._origin:
            request.headers["Authorization"] = self._header
        return request

    @property
    def _basic(self) -> str | None:
        if self._password is None:
            return None
        pair = f"{self._login or ''}:{self._password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def answer(self, session: Session, header: str, *, what: str) -> bool:
        """Prepare for the challenge of a 401.

        :param header: the ``WWW-Authenticate`` header.
        :param what: what was asked, for messages.
        :return: whether it makes sense to send the request again.
        :raises CredentialsRejected: the token service refuses the credentials.
        """
        challenge = Challenge.parse(header)
        if challenge.scheme == "basic":
            wanted = self._basic
            repeat = wanted is not None and wanted != self._header
            self._header = wanted
            return repeat
        if challenge.scheme == "bearer":
            self._header = f"Bearer {self._token(session, challenge, what)}"
            return True
        return False

    def _token(self, session: Session, challenge: Challenge, what: str) -> str:
        realm = challenge.parameters.get("realm", "")
        target = urlsplit(realm)
        plain = target.scheme == "http" and may_use_http(target.hostname, allow_http=self._allow_http)
        if target.scheme != "https" and not plain:
            raise ConnectionIncomplete(
                f"{what}: the registry sends us to the token service {realm!r}, which is not https",
                next_step="Let the registry advertise an https token service, or set allow_http in the connection.",
                conn_id=self._conn_id,
            )
        asked = {
            name: challenge.parameters[name] for name in ("service", "scope") if name in challenge.parameters
        }
        response = session.get(
            realm,
            params=asked,
            headers={"Authorization": self._basic} if self._basic else {},
            # Without an auth object of its own requests would look into ~/.netrc.
            auth=_AsIs(),
            timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            allow_redirects=False,
        )
        if response.status_code != 200:
            raise status_error(
                f"{what}: token service {target.netloc}",
                response.status_code,
                headers=response.headers,
                body=response.text,
                conn_id=self._conn_id,
            )
        try:
            answer = response.json()
            return str(answer.get("token") or answer["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise CredentialsRejected(
                f"{what}: token service {target.netloc} answered without a token", conn_id=self._conn_id
            ) from error


class _AsIs(AuthBase):
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request
