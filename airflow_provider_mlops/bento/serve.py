"""Serving a stored Bento without an image: for demonstrations, smoke tests in CI, and looking at a Bento."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_provider_mlops.bento import archive
from airflow_provider_mlops.bento.environment import bento_variables
from airflow_provider_mlops.bento.errors import ArchiveDamaged
from airflow_provider_mlops.bento.index_access import index_access


def unpack(packed: Path, folder: Path, *, digest: str | None = None) -> Path:
    """Unpack a local archive into ``folder``; the folder of the Bento.

    :param digest: what a payload promised (``sha256:...``); checked before anything is unpacked.
    :raises ArchiveDamaged: the archive has another digest, or is no Bento.
    """
    if digest is not None:
        with packed.open("rb") as stream:
            found = archive.digest(stream)
        if found != digest:
            raise ArchiveDamaged(
                f"{packed} has the digest {found}, not {digest}", expected=digest, found=found
            )
    with packed.open("rb") as stream:
        archive.unpack_archive(stream, folder)
    return folder


def serve_command(
    bento: Path, *, python: Path, work: Path, port: int, host: str = "127.0.0.1"
) -> tuple[list[str], dict[str, str]]:
    """Command line and whole environment that serve an unpacked Bento with nothing but its own models.

    The server answers ``GET /readyz`` when it is ready, and names the Bento's version as ``info.version``
    of ``/docs.json``. Start it in a session of its own and send SIGTERM to it alone, then wait: it ends
    its workers itself, which run in further sessions that a signal to the group does not reach.

    :param bento: folder of the unpacked Bento; nothing is written into it.
    :param python: interpreter of an environment with BentoML and what the service imports.
    :param work: private folder for BentoML's own files; made if missing.
    """
    for folder in ("home", "tmp"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    argv = [str(python), "-m", "bentoml", "serve", str(bento), "--host", host, "--port", str(port)]
    return argv, bento_variables(python, work, dict(index_access(os.environ).environment))
