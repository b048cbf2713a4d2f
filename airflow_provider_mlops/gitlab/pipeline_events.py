"""Which pipelines have come to an end since a watcher last looked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Self

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job.adapter import Json
from airflow_provider_mlops.gitlab.entities import Entity, parse_time

#: Statuses that end a pipeline; after a retry it may leave them again.
FINAL = ("success", "failed", "canceled", "skipped")

#: Changes may be listed this late.
OVERLAP = timedelta(minutes=1)

#: Pipelines that are remembered across a restart of the watcher.
_KEPT = 500


@dataclass(frozen=True, slots=True)
class PipelineFilter:
    """Which pipelines count.

    :param ref: branch or tag, or a shell-style pattern such as ``release/*``; ``None``: all.
    :param source: GitLab's word, such as ``push``, ``schedule`` or ``api``; ``None``: all.
    :param statuses: of :data:`FINAL`.
    :param name: the pipeline's name (``workflow:name``), or a pattern; ``None``: all.
    """

    ref: str | None = None
    source: str | None = None
    statuses: Sequence[str] = FINAL
    name: str | None = None

    @classmethod
    def checked(cls, *, statuses: Sequence[str] | None, **patterns: str | None) -> Self:
        """Check what the author gave.

        :raises InvalidArgument: ``statuses`` holds a word that ends no pipeline.
        """
        wanted = FINAL if statuses is None else statuses
        unknown = [wanted] if isinstance(wanted, str) else [word for word in wanted if word not in FINAL]
        if unknown or not wanted:
            raise InvalidArgument(
                f"statuses is {statuses!r}", next_step=f"Give a list of some of {', '.join(FINAL)}."
            )
        return cls(statuses=tuple(wanted), **patterns)

    def matches(self, row: Entity) -> bool:
        """Whether a pipeline is one of those, its status aside."""
        return (
            (self.ref is None or fnmatchcase(str(row.get("ref")), self.ref))
            and self.source in (None, row.get("source"))
            and (self.name is None or fnmatchcase(row.get("name") or "", self.name))
        )


@dataclass(slots=True)
class EndedPipelines:
    """Tells each end of a pipeline once; a retried pipeline may end once more.

    :param since: earlier ends do not count.
    """

    wanted: PipelineFilter
    since: datetime
    _seen: dict[int, tuple[str, datetime]] = field(default_factory=dict)

    def take(self, rows: Iterable[Entity]) -> list[Entity]:
        """Pipelines among ``rows`` whose end has not been told yet, in the order of their ends.

        :param rows: pipelines that changed lately, in any order; the same ones may come again.
        """
        ended = []
        for row in sorted(rows, key=_changed):
            known, now = self._seen.get(row["id"]), (row["status"], _changed(row))
            if known is not None and known[1] > now[1]:
                # A list that lags shows what the row was before.
                continue
            self._seen[row["id"]] = now
            news = known is None or known[0] != now[0]
            if news and now[0] in self.wanted.statuses and now[1] >= self.since and self.wanted.matches(row):
                ended.append(row)
        self._forget()
        return ended

    @property
    def until(self) -> datetime:
        """The last change that was seen."""
        return max((changed for _, changed in self._seen.values()), default=self.since)

    def _forget(self) -> None:
        newest = sorted(self._seen.items(), key=lambda item: item[1][1])[-10 * _KEPT :]
        self._seen = dict(newest)

    def to_json(self) -> dict[str, Json]:
        """What a watcher that starts again has to know."""
        late = [
            (number, word, changed.isoformat())
            for number, (word, changed) in self._seen.items()
            if changed >= self.until - OVERLAP
        ]
        return {"until": self.until.isoformat(), "seen": [list(row) for row in late[-_KEPT:]]}

    def resume(self, data: Mapping[str, Any]) -> None:
        """Go on from where :meth:`to_json` was taken."""
        self.since = datetime.fromisoformat(data["until"]) - OVERLAP
        for number, word, changed in data["seen"]:
            self._seen[number] = (word, datetime.fromisoformat(changed))


def event_of(row: Entity, project: str | int) -> dict[str, Json]:
    """The payload of the event: the same wherever and however often it is made."""
    return {
        "kind": "gitlab.pipeline",
        "project": str(project),
        "project_id": row.get("project_id"),
        "pipeline_id": row["id"],
        "status": row["status"],
        "ref": row.get("ref"),
        "sha": row.get("sha"),
        "source": row.get("source"),
        "name": row.get("name"),
        "url": row.get("web_url"),
        "ended_at": row.get("updated_at"),
    }


def _changed(row: Entity) -> datetime:
    return parse_time(row.get("updated_at")) or datetime.fromtimestamp(0, UTC)
