"""Where packages come from, with the credentials taken out of the URLs.

uv writes index URLs, passwords included, into the requirements of a Bento and so into every image made
from it. Here every URL loses its user and password, which go into a netrc file that both uv and pip read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

#: Variables of uv and pip that hold one or several index URLs.
_URL_VARIABLES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
)

_PASSED = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "LD_LIBRARY_PATH",
        "NETRC",
        "XDG_CACHE_HOME",
    }
)
_PASSED_PREFIXES = ("UV_", "PIP_")

#: Settings of uv and pip that carry a secret themselves, or would move the installation elsewhere.
_WITHHELD = (
    "UV_PUBLISH_",
    "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
)


@dataclass(frozen=True, slots=True)
class IndexLogin:
    """A user of one index host. ``repr`` does not show the password."""

    host: str
    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IndexAccess:
    """Variables for an installer's or a build's process, and the logins that belong to them.

    :param environment: the worker's variables that such a process may see; URLs without credentials.
    :param logins: credentials that were taken out of the URLs.
    """

    environment: Mapping[str, str]
    logins: tuple[IndexLogin, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """The index URLs, sorted, without credentials."""
        found = (self.environment.get(name, "").split() for name in _URL_VARIABLES)
        return tuple(sorted({url for urls in found for url in urls}))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not appear in a Bento or a log."""
        return tuple(login.password for login in self.logins)

    def netrc(self, existing: str = "") -> str:
        """A netrc file with the logins; ``existing`` is the user's own, kept behind ours."""
        lines = [
            f"machine {login.host} login {login.login} password {login.password}" for login in self.logins
        ]
        return "\n".join([*lines, existing.rstrip("\n"), ""])


def index_access(
    environ: Mapping[str, str], *, index_url: str | None = None, login: IndexLogin | None = None
) -> IndexAccess:
    """Choose what a child process sees of the worker's environment, which is otherwise withheld.

    :param environ: the worker's environment.
    :param index_url: URL of the package index to use instead of the worker's default one.
    :param login: its credentials.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and not name.startswith(_WITHHELD)
    }
    if index_url:
        passed.update(UV_DEFAULT_INDEX=index_url, PIP_INDEX_URL=index_url)
        passed.pop("UV_INDEX_URL", None)
    logins = [login] if login else []
    for name in _URL_VARIABLES:
        if name in passed:
            clean = []
            for word in passed[name].split():
                url, found = split_credentials(word)
                clean.append(url)
                logins.extend([found] if found else [])
            passed[name] = " ".join(clean)
    return IndexAccess(environment=passed, logins=tuple(dict.fromkeys(logins)))


def split_credentials(url: str) -> tuple[str, IndexLogin | None]:
    """A URL without its user and password, and these, if it had any. ``NAME=URL``, as uv allows, keeps its name."""
    label, _, address = url.rpartition("=") if "=" in url.split("://", 1)[0] else ("", "", url)
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return url, None
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    clean = urlunsplit(parts._replace(netloc=host))
    # A token may stand alone, in front of the @.
    login = IndexLogin(
        host=parts.hostname or host,
        login=unquote(user) if password else "__token__",
        password=unquote(password or user),
    )
    return (f"{label}={clean}" if label else clean), login
