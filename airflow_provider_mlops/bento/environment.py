"""Isolated Python environments, made once per set of requirements and kept in a cache folder.

BentoML's pins cannot be met under Airflow's constraint files, so it never runs in the worker's own
environment. An environment is made in a temporary folder, marked complete and renamed into place, all
under a lock: a killed worker leaves nothing that another one would take for whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_mlops.bento.child_process import ChildProcess, Ended
from airflow_provider_mlops.bento.errors import EnvironmentBuildFailed, PackageIndexUnreachable
from airflow_provider_mlops.bento.index_access import IndexAccess, index_access
from airflow_provider_mlops.errors import StorageUnwritable

#: Changes whenever environments are made differently, so that old ones are not used.
SCHEMA = 1

#: What the isolated environment holds unless told otherwise.
DEFAULT_REQUIREMENTS = ("bentoml>=1.4.39,<1.5",)

# `bentoml build` wants uv even when it locks nothing, and would install it itself where it is missing.
_NEEDED_BY_BENTOML = ("uv",)

_MARKER = "mlops-environment.json"
_PROBE = (
    "import importlib.metadata as m, json, platform\n"
    "print(json.dumps({'python': platform.python_version(), 'packages': "
    "{d.metadata['Name'].lower(): d.version for d in m.distributions() if d.metadata['Name']}}))"
)
_NETWORK_TROUBLE = (
    "error sending request",
    "failed to fetch",
    "connection refused",
    "connection reset",
    "dns error",
    "name or service not known",
    "temporary failure in name resolution",
    "timed out",
    "newconnectionerror",
    "502 bad gateway",
    "503 service",
    "504 gateway",
)


def _quiet(_line: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python environment that holds BentoML.

    :param python: its interpreter.
    :param bentoml: version of BentoML in it.
    :param python_version: full version of its Python.
    :param reused: whether it was there before.
    """

    python: Path
    bentoml: str
    python_version: str
    reused: bool


def default_cache() -> Path:
    """Cache folder of this user: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``airflow-provider-mlops/environments``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "airflow-provider-mlops" / "environments"


def network_trouble(words: str) -> bool:
    """Whether an installer's last words blame the network rather than the requirements."""
    lowered = words.lower()
    return any(sign in lowered for sign in _NETWORK_TROUBLE)


def existing_environment(python: str | Path) -> Environment:
    """Look into an environment that somebody else made.

    :raises EnvironmentBuildFailed: no such interpreter, or it has no BentoML, or neither uv nor pip.
    """
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True
        )
        found = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentBuildFailed(
            f"{python} cannot be asked for its packages: {error}",
            next_step="Give the path of the interpreter of an environment that holds BentoML.",
        ) from error
    packages = found["packages"]
    if "bentoml" not in packages:
        raise EnvironmentBuildFailed(
            f"The environment of {python} holds no BentoML",
            next_step=f"Run: {python} -m pip install 'bentoml>=1.4.39,<1.5' uv",
        )
    if "uv" not in packages and not shutil.which("uv"):
        raise EnvironmentBuildFailed(
            f"The environment of {python} holds no uv, which BentoML needs to build",
            next_step=f"Run: {python} -m pip install uv",
        )
    return Environment(Path(python), packages["bentoml"], found["python"], reused=True)


def ensure_environment(
    requirements: Sequence[str] = DEFAULT_REQUIREMENTS,
    *,
    cache: Path | None = None,
    python: str | None = None,
    access: IndexAccess | None = None,
    child: ChildProcess | None = None,
    on_line: Callable[[str], None] = _quiet,
    timeout: float | None = None,
) -> Environment:
    """The environment with these requirements: from the cache, else made now.

    :param cache: folder of environments, shared by all builds of this worker; default: :func:`default_cache`.
    :param python: interpreter that the environment is made from; default: the worker's own.
    :param access: index variables and credentials for the installer; default: those of this process.
    :param child: runs the installer, so that it can be killed.
    :param on_line: gets progress and the installer's output.
    :param timeout: seconds; ``None``: no limit.
    :raises EnvironmentBuildFailed: the installer failed.
    :raises PackageIndexUnreachable: it failed because of the network.
    :raises StorageUnwritable: the cache folder cannot be written.
    """
    cache = cache or default_cache()
    access = access or index_access(os.environ)
    child = child or ChildProcess()
    uv = find_uv()
    base = python or sys.executable
    wanted = sorted({*requirements, *_NEEDED_BY_BENTOML})
    home = cache / _key(wanted, base, access.urls, uv)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{home.name}.lock"):
            known = _read(home)
            if known is not None:
                return known
            shutil.rmtree(home, ignore_errors=True)
            with _temporary_folder(cache, home.name) as draft:
                on_line(f"Making an isolated environment with {', '.join(wanted)}")
                _install(draft, wanted, base, uv, access, child, on_line, timeout)
                _mark_complete(draft)
                draft.rename(home)
    except OSError as error:
        raise StorageUnwritable(
            f"Environment cache {cache}: {error}",
            next_step="Name a writable folder with environments_dir.",
        ) from error
    made = _read(home)
    if made is None:
        raise EnvironmentBuildFailed(f"Environment {home} vanished while it was made")
    return Environment(made.python, made.bentoml, made.python_version, reused=False)


def find_uv() -> str | None:
    """Path of uv: on the PATH, or beside the worker's interpreter."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if beside.is_file() else None)


def _key(requirements: Sequence[str], base: str, urls: Sequence[str], uv: str | None) -> str:
    about = _output([base, "-I", "-c", "import sys; print(sys.implementation.name, sys.version)"])
    parts = {
        "schema": SCHEMA,
        "requirements": list(requirements),
        "python": [str(Path(base).resolve()), about, sys.platform, platform.machine()],
        "urls": list(urls),
        "installer": _output([uv, "--version"]) if uv else "pip",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _output(argv: Sequence[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentBuildFailed(f"{argv[0]} does not run: {error}") from error


def _install(
    draft: Path,
    requirements: Sequence[str],
    base: str,
    uv: str | None,
    access: IndexAccess,
    child: ChildProcess,
    on_line: Callable[[str], None],
    timeout: float | None,
) -> None:
    python = str(_interpreter(draft))
    if uv:
        # Relocatable: the environment is made in one folder and lives in another.
        make = [uv, "venv", "--quiet", "--allow-existing", "--relocatable", "--no-config", "--python", base]
        install = [uv, "pip", "install", "--quiet", "--no-config", "--python", python]
    else:
        make = [base, "-I", "-m", "venv"]
        install = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with netrc_file(access) as variables:
        for argv in ([*make, str(draft)], [*install, *requirements]):
            ended = child.run(argv, environment=variables, cwd=draft, on_line=on_line, timeout=timeout)
            if ended.returncode != 0:
                raise _failure(ended, requirements)


def _failure(ended: Ended, requirements: Sequence[str]) -> EnvironmentBuildFailed | PackageIndexUnreachable:
    words = ended.last_words()
    kind = PackageIndexUnreachable if network_trouble(words) else EnvironmentBuildFailed
    return kind(f"No environment with {', '.join(requirements)} (exit code {ended.returncode}): {words}")


def _mark_complete(home: Path) -> None:
    found = existing_environment(_interpreter(home))
    marker = {"schema": SCHEMA, "bentoml": found.bentoml, "python": found.python_version}
    (home / _MARKER).write_text(json.dumps(marker), encoding="utf-8")


def _read(home: Path) -> Environment | None:
    try:
        marker = json.loads((home / _MARKER).read_text(encoding="utf-8"))
        python = _interpreter(home)
        # The base interpreter may have been removed since: then the link leads nowhere.
        if not python.exists():
            return None
        return Environment(python, marker["bentoml"], marker["python"], reused=True)
    except (OSError, ValueError, KeyError):
        return None


def _interpreter(home: Path) -> Path:
    return home / "bin" / "python"


@contextmanager
def netrc_file(access: IndexAccess) -> Iterator[dict[str, str]]:
    """Variables for a child process, with a private netrc file that lasts as long as the block, if one is needed."""
    if not access.logins:
        yield dict(access.environment)
        return
    users = Path(access.environment.get("NETRC") or Path.home() / ".netrc")
    existing = users.read_text(encoding="utf-8") if users.is_file() else ""
    with tempfile.TemporaryDirectory(prefix="mlops-netrc-") as folder:
        file = Path(folder) / "netrc"
        file.touch(mode=0o600)
        file.write_text(access.netrc(existing), encoding="utf-8")
        yield {**access.environment, "NETRC": str(file)}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the system gives it back when the process dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder beside the final one; whatever is left of earlier attempts goes first (the lock is held)."""
    for stale in parent.glob(f"{name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{name}.tmp-", dir=parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def bento_variables(python: Path, work: Path, base: dict[str, str]) -> dict[str, str]:
    """Variables of a process that runs BentoML: a store, a temporary folder and a PATH of its own, no telemetry.

    :param python: interpreter of the isolated environment.
    :param work: private folder; BentoML's store is ``home`` below it, temporary files go to ``tmp``.
    :param base: what else it may see.
    """
    uv = find_uv()
    path = [str(python.parent), *([str(Path(uv).parent)] if uv else []), base.get("PATH", os.defpath)]
    return {
        **base,
        "PATH": os.pathsep.join(path),
        "BENTOML_HOME": str(work / "home"),
        "BENTOML_DO_NOT_TRACK": "true",
        "TMPDIR": str(work / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }
