"""Where the files of a model come from: a path, or a registry that has to be asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from airflow_provider_mlops.bento.store import is_local


class ModelSource(Protocol):
    """A model that can be had as local files."""

    @property
    def origin(self) -> Mapping[str, str]:
        """What a registry calls it: written into the model's metadata and the payload; no part of its identity."""

    def fetch(self, folder: Path) -> Path:
        """The model's file or folder on this disk.

        :param folder: where a copy may be made; it does not exist yet.
        :raises FileNotFoundError: there is nothing.
        """


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A file or folder at a path: ``pathlib.Path``, which is used where it lies, or an object store path."""

    place: Any
    origin: Mapping[str, str] = field(default_factory=dict)

    def fetch(self, folder: Path) -> Path:
        """See :class:`ModelSource`."""
        place = self.place
        if is_local(place):
            return Path(place)
        folder.mkdir(parents=True)
        if place.is_file():
            return _copy(place, folder / place.name)
        for source in place.rglob("*"):
            if source.is_file():
                _copy(source, folder / str(source.relative_to(place)))
        return folder


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One version of a model in a registry.

    :param origin: see :class:`ModelSource`.
    :param download: copies its files below a folder, and says where they are.
    """

    origin: Mapping[str, str]
    download: Callable[[Path], Path]

    def fetch(self, folder: Path) -> Path:
        """See :class:`ModelSource`."""
        folder.mkdir(parents=True)
        return self.download(folder)


def _copy(source: Any, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as content, target.open("wb") as out:
        shutil.copyfileobj(content, out)
    return target
