"""Where Bento archives are kept: ``<store>/<name>/<version>.tar`` and, last, a JSON file that vouches for it.

An archive counts only if its JSON file is there and the archive has the digest that it names; so an
archive half written, or left behind by a killed worker, is never taken for a Bento.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from airflow_provider_mlops.bento import archive
from airflow_provider_mlops.bento.errors import BentoVersionTaken
from airflow_provider_mlops.errors import StorageUnwritable
from airflow_provider_mlops.payloads import BentoPayload


def is_local(place: Any) -> bool:
    """Whether a path is one of the system's own: object store paths are ``pathlib.Path`` too on older Airflow."""
    return type(place) is type(Path())


class BentoStore:
    """Archives below one place.

    :param root: ``pathlib.Path``, or an object store path that works like one.
    :param uri: the same place as text; payloads name archives below it.
    """

    def __init__(self, root: Any, *, uri: str) -> None:
        self._root = root
        self._uri = uri.rstrip("/")

    def uri(self, name: str, version: str) -> str:
        """URI of an archive, whether or not it is there."""
        return f"{self._uri}/{name}/{version}.tar"

    def check_writable(self, name: str) -> None:
        """Find out before a build that its archive could not be stored.

        :raises StorageUnwritable: the place cannot be written.
        """
        if not is_local(self._root):
            return  # asking an object store means writing an object, which a listing or a trigger may see
        with self._writing():
            folder = self._root / name
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-"):
                pass

    def find(self, name: str, version: str, input_hash: str) -> BentoPayload | None:
        """The stored Bento that was built from this input, verified; ``None`` if there is none.

        :raises BentoVersionTaken: this version was built from other input.
        """
        try:
            payload = cast(
                BentoPayload, json.loads(self._side_file(name, version).read_text(encoding="utf-8"))
            )
            known, digest = payload["input_hash"], payload["digest"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        if known != input_hash:
            raise BentoVersionTaken(
                f"{self.uri(name, version)} was built from other input",
                name=name,
                version=version,
            )
        try:
            with self._archive(name, version).open("rb") as stream:
                if archive.digest(stream) != digest:
                    return None
        except FileNotFoundError:
            return None
        # The store may have been moved or be reached by another URI since.
        return {**payload, "uri": self.uri(name, version), "reused": True}

    def publish(self, packed: Path, payload: BentoPayload) -> BentoPayload:
        """Store an archive, unless another build of the same input was faster; the payload of what is there.

        :param packed: the archive, local.
        :raises BentoVersionTaken: this version was meanwhile built from other input.
        :raises StorageUnwritable: it cannot be written; nothing half-written stays.
        """
        name, version = payload["name"], payload["version"]
        with self._writing(), self._locked(name):
            there = self.find(name, version, payload["input_hash"])
            if there is not None:
                return there
            self._put(packed, self._archive(name, version))
            with tempfile.TemporaryDirectory() as folder:
                side_file = Path(folder) / "payload.json"
                side_file.write_text(json.dumps(payload, indent=2, sort_keys=True) + "\n", encoding="utf-8")
                self._put(side_file, self._side_file(name, version))
        return payload

    def _archive(self, name: str, version: str) -> Any:
        return self._root / name / f"{version}.tar"

    def _side_file(self, name: str, version: str) -> Any:
        return self._root / name / f"{version}.json"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageUnwritable(f"Bento store {self._uri}: {error}") from error

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One writer at a time below a name. An object store has no locks: there the digest decides."""
        folder = self._root / name
        if not is_local(folder):
            yield
            return
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _put(self, source: Path, target: Any) -> None:
        if not is_local(target):
            with source.open("rb") as content, target.open("wb") as out:
                shutil.copyfileobj(content, out)
            return
        prefix = f".{target.name}."
        for stale in target.parent.glob(f"{prefix}*"):
            stale.unlink()  # of a worker killed while it wrote; we hold the lock
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=prefix)
        try:
            with source.open("rb") as content, os.fdopen(handle, "wb") as out:
                shutil.copyfileobj(content, out)
                os.fchmod(out.fileno(), 0o644)
                out.flush()
                os.fsync(out.fileno())
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
