"""What one run has done so far: the intent and the outcome of each step, written before and after it.

A rerun reads its journal, leaves out the steps that are done, and repeats the one that was cut off; every
step can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_mlops.release.errors import LedgerCorrupt
from airflow_provider_mlops.release.files import read_json, uri_of, write_json
from airflow_provider_mlops.release.record import ReleaseRecord

SCHEMA = 1
_STARTED, _DONE = "started", "done"


@dataclass(slots=True)
class Journal:
    """The journal of one run, kept in ``journal/<key>.json``.

    :param key: the same for all tries of one run, another for every other run.
    :param record: the release that the run makes; it goes into the ledger at the end.
    :param steps: state and result of every step that was begun.
    :param finished: the release is complete.
    """

    file: Any
    key: str
    record: ReleaseRecord
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    finished: bool = False

    @classmethod
    def read(cls, folder: Any, key: str) -> Journal | None:
        """Journal of that key, if there is one.

        :raises LedgerCorrupt: the file is damaged.
        """
        file = folder / "journal" / f"{key}.json"
        data = read_json(file)
        if data is None:
            return None
        try:
            record = ReleaseRecord.from_json(data["record"])
            return cls(file, key, record, data["steps"], data["finished"])
        except KeyError as error:
            raise LedgerCorrupt(f"{uri_of(file)} has no {error}") from error

    @classmethod
    def new(
        cls, folder: Any, key: str, record: ReleaseRecord, steps: Mapping[str, dict[str, Any]] | None = None
    ) -> Journal:
        """A journal that is not written yet, with the steps that a run before it has left done."""
        return cls(folder / "journal" / f"{key}.json", key, record, dict(steps or {}))

    @property
    def begun(self) -> bool:
        """Whether a step may have had its effect."""
        return bool(self.steps)

    def is_done(self, step: str) -> bool:
        """Whether the step is complete."""
        return self.steps.get(step, {}).get("state") == _DONE

    def start(self, step: str) -> None:
        """Write down that the step begins."""
        self.steps[step] = {"state": _STARTED}
        self.save()

    def done(self, step: str, result: Mapping[str, Any]) -> None:
        """Write down that the step is complete."""
        self.steps[step] = {"state": _DONE, "result": dict(result)}
        self.save()

    def finish(self) -> None:
        """Write down that the release is complete."""
        self.finished = True
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_json(
            self.file,
            {
                "schema": SCHEMA,
                "key": self.key,
                "record": self.record.to_json(),
                "steps": self.steps,
                "finished": self.finished,
            },
        )
