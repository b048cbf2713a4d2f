"""References to models in MLflow, and what they turned out to be. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_mlops.errors import InvalidArgument

_SCHEMES = ("models:", "runs:")
_BY_ALIAS = re.compile(r"models:/(?P<name>[^/@:]+)@(?P<alias>[^/@:]+)")
_BY_VERSION = re.compile(r"models:/(?P<name>[^/@:]+)/(?P<version>[0-9]+)")
_OF_RUN = re.compile(r"runs:/(?P<run_id>[^/@:]+)/(?P<path>[^?#]*[^/?#])")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """What a reference names: an alias or a version of a registered model, or an artifact of a run."""

    text: str
    name: str | None = None
    alias: str | None = None
    version: str | None = None
    run_id: str | None = None
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Read ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or ``runs:/<run id>/<path>``.

        :raises InvalidArgument: anything else. Stages and ``latest`` are not taken: what they mean is decided by
            whoever writes next.
        """
        for form in (_BY_ALIAS, _BY_VERSION, _OF_RUN):
            if found := form.fullmatch(text):
                reference = cls(text, **found.groupdict())
                if ".." not in (reference.path or "").split("/"):
                    return reference
        raise InvalidArgument(
            f"{text!r} is not a reference to a model in MLflow",
            next_step="Use models:/<name>@<alias>, models:/<name>/<version> or runs:/<run id>/<path>.",
        )


def is_reference(text: str) -> bool:
    """Whether a place is meant for MLflow, be it well-formed or not."""
    return text.startswith(_SCHEMES)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a reference means at one moment.

    :param reference: as it was given.
    :param tracking_uri: the server, without credentials.
    :param name: registered name; ``None`` for an artifact of a run.
    :param version: version under that name, or ``None`` likewise.
    :param run_id: the run that made it, where it is known.
    :param source: where MLflow keeps the files.
    """

    reference: str
    tracking_uri: str
    name: str | None
    version: str | None
    run_id: str | None
    source: str

    @property
    def concrete(self) -> str:
        """A reference that no alias can move."""
        return f"models:/{self.name}/{self.version}" if self.name else self.reference

    def origin(self) -> dict[str, str]:
        """What is worth keeping with the model's files: all but the reference, whose meaning may change."""
        known = {
            "tracking_uri": self.tracking_uri,
            "registered_model": self.name,
            "version": self.version,
            "run_id": self.run_id,
            "source": self.source,
        }
        return {"system": "mlflow", **{key: value for key, value in known.items() if value}}
