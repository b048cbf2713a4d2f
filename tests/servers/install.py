"""Getting server programs: Go modules and Python packages into a cache folder, Debian packages into the system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


class CannotInstall(Exception):
    """The program is missing and cannot be got on this machine; the message says what to do."""


def cache_folder(name: str, version: str) -> Path:
    """Where the programs of one server version live, on this machine, for every checkout."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "airflow-provider-mlops" / "servers" / f"{name}-{version}"


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path | None]:
    """Fill a cache folder once: yields a scratch folder, or None where somebody else has filled it meanwhile.

    The scratch folder takes its final name only when the block ends well, so a killed build leaves nothing
    that looks finished.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        scratch.chmod(0o755)
        try:
            yield scratch
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def go_install(package: str, version: str, folder: Path, *, tags: str = "") -> None:
    """``go install PACKAGE@VERSION`` into a cache folder; for modules without ``replace`` lines of their own."""
    go = shutil.which("go")
    if go is None:
        raise CannotInstall("go is not on PATH; install Go 1.26 or newer")
    with building(folder) as scratch:
        if scratch is None:
            return
        subprocess.run(
            [go, "install", *(["-tags", tags] if tags else []), "-ldflags", "-s -w", f"{package}@{version}"],
            check=True,
            env={**os.environ, "CGO_ENABLED": "0", "GOBIN": str(scratch)},
        )


def python_install(folder: Path, *requirements: str) -> None:
    """A Python environment of its own with some packages, in a cache folder."""
    uv = _uv()
    with building(folder) as scratch:
        if scratch is None:
            return
        # Relocatable: it is made in the scratch folder and lives in another.
        make = [uv, "venv", "--quiet", "--allow-existing", "--relocatable", "--python", sys.executable]
        subprocess.run([*make, str(scratch)], check=True)
        python = str(scratch / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *requirements], check=True)


@contextlib.contextmanager
def unpack_package(requirement: str) -> Iterator[Path]:
    """The files of one Python package, without those that it depends on, in a folder that goes afterwards.

    Beside the cache, so that files can be moved there.
    """
    root = cache_folder("x", "x").parent
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        command = [_uv(), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
        subprocess.run([*command, "--target", folder, requirement], check=True)
        yield Path(folder)


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise CannotInstall("uv is not on PATH; install it with: pip install uv")
    return uv


def apt_install(package: str) -> None:
    """Install a Debian package; needs root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotInstall(f"install it as root: apt-get install {package}")
    subprocess.run(
        ["apt-get", "install", "--yes", "--no-install-recommends", package],
        check=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
