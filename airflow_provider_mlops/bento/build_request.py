"""What a Bento build is asked for: one frozen, JSON-able value, checked before anything happens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from airflow_provider_mlops.errors import InvalidArgument

Lock = Literal["auto", "on", "off"]

#: BentoML's rule for names and versions (``bentoml._internal.tag``); upper case is lowered there, refused here.
_TAG_PART = re.compile(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?")
_TAG_PART_MAX = 63

#: ``version`` value that names the Bento after the hash of its input.
AUTO_VERSION = "auto"


def is_tag_part(text: str) -> bool:
    """Whether BentoML accepts ``text`` as a name or a version."""
    return len(text) <= _TAG_PART_MAX and _TAG_PART.fullmatch(text) is not None


def tag_part_from(text: str) -> str:
    """A legal name made from free text, such as a folder's name; empty when nothing is left of it."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:_TAG_PART_MAX].rstrip("_")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One Bento build, as data.

    :param context: local folder with the service's files.
    :param service: import path of the service inside the context (``service:Classifier``); default: what the
        bentofile says, else ``service.py``.
    :param bentofile: build file relative to the context; default: ``bentofile.yaml``, else ``pyproject.toml``
        with a ``[tool.bentoml.build]`` table.
    :param name: name of the Bento; default: what the bentofile says, else the folder's name.
    :param version: ``"auto"`` (``h-`` and 16 digits of the input hash) or an explicit version.
    :param models: model name to the place of its file or folder.
    :param labels: labels written into the Bento.
    :param args: values for ``bentoml.use_arguments``.
    :param lock: ``"auto"`` locks Python requirements only if the bentofile says ``lock_packages: true``,
        ``"on"`` always, ``"off"`` never. Locking needs the package index.
    :raises InvalidArgument: a field breaks BentoML's rules or is not JSON.
    """

    context: str
    service: str | None = None
    bentofile: str | None = None
    name: str | None = None
    version: str = AUTO_VERSION
    models: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    lock: Lock = "auto"

    def __post_init__(self) -> None:
        if not self.context:
            raise InvalidArgument("context is empty", next_step="Name the folder that holds the service.")
        for argument, value in (("name", self.name), ("version", self.version)):
            if value is not None and not is_tag_part(value):
                raise InvalidArgument(
                    f"{argument} {value!r} is not a legal BentoML {argument}",
                    next_step=f"Use at most {_TAG_PART_MAX} of a-z, 0-9, '.', '_' and '-', "
                    "beginning and ending with a letter or digit.",
                )
        for model, place in self.models.items():
            if not is_tag_part(model):
                raise InvalidArgument(
                    f"models: {model!r} is not a legal BentoML model name",
                    next_step="Use lower-case letters, digits, '.', '_' and '-'.",
                )
            if not place:
                raise InvalidArgument(
                    f"models: {model!r} has no place", next_step="Check the task that produces the model."
                )
        for key, label in cast(Mapping[object, object], self.labels).items():
            if not isinstance(key, str) or not isinstance(label, str):
                raise InvalidArgument(
                    f"labels: {key!r} is not text with a text value", next_step="Quote the value."
                )
        if self.lock not in ("auto", "on", "off"):
            raise InvalidArgument(f"lock {self.lock!r} is none of 'auto', 'on', 'off'")
        try:
            json.dumps(dict(self.args))
        except (TypeError, ValueError) as error:
            raise InvalidArgument(f"args cannot be written as JSON: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON types."""
        return asdict(self)
