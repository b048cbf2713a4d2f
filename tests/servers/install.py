"""Getting server programs: Go modules into a cache folder, Debian packages into the system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
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


def apt_install(package: str) -> None:
    """Install a Debian package; needs root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotInstall(f"install it as root: apt-get install {package}")
    subprocess.run(
        ["apt-get", "install", "--yes", "--no-install-recommends", package],
        check=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
