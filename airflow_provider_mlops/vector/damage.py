"""What an audit found, and whether it is damage. Pure decisions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_mlops.vector.errors import IndexDamaged


@dataclass(slots=True)
class AuditReport:
    """State of one version; everything counts chunks unless it says otherwise.

    :param version: its name.
    :param state: ``built``, ``building``, ``rejected``; ``gone`` if the live name points to nothing.
    :param live: readers see it.
    :param unclean: the last run that wrote the index did not come to its end.
    :param outdated: the version was built from another declaration of the index than today's.
    :param counted: what the store says it holds.
    :param chunks: what reading it from end to end gave.
    :param documents: documents that these belong to.
    :param checked: chunks that were looked at one by one.
    :param repeated: stored more than once under one id.
    :param missing: places within a document that no chunk has, or that could not be read.
    :param doubled: chunks whose place within their document another one has as well.
    :param foreign: id does not follow from document and text: somebody else wrote them.
    :param without_vector: vector missing, of the wrong length, or with NaN, infinity or zeros only.
    :param unlisted: stored, and passed by in filters: half-written when the store crashed.
    :param mended: of these, how many were written anew.
    :param unfindable: stored, and not found by their own vector.
    :param healed: of these, how many were written anew and are found now.
    :param layout: differences of columns, tokenization or metric, one line each.
    """

    version: str
    state: str
    live: bool
    unclean: bool = False
    outdated: bool = False
    counted: int = 0
    chunks: int = 0
    documents: int = 0
    checked: int = 0
    repeated: int = 0
    missing: int = 0
    doubled: int = 0
    foreign: int = 0
    without_vector: int = 0
    unlisted: int = 0
    mended: int = 0
    unfindable: int = 0
    healed: int = 0
    layout: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What is damage, one line each. An outdated version is none, nor is an unclean end by itself."""
        if self.state == "gone":
            return ["what the live name points to is gone"]
        counts = {
            "are stored more than once": self.repeated,
            "are missing within their documents": self.missing,
            "share their place with another one": self.doubled,
            "were written by somebody else or changed": self.foreign,
            "have no usable vector": self.without_vector,
            "are half-written, and passed by in filters": self.unlisted - self.mended,
            "are not found by their own vector": self.unfindable - self.healed,
        }
        lines = [f"{count} chunks {what}" for what, count in counts.items() if count]
        if self.live and self.state != "built":
            lines.append(f"it is live, and {self.state}")
        if self.counted != self.chunks + self.repeated:
            lines.append(f"the store counts {self.counted} chunks, and {self.chunks} can be read")
        return lines + self.layout

    def to_json(self) -> dict[str, Any]:
        """For payloads: all fields, and ``problems``."""
        return {**asdict(self), "problems": self.problems()}


def damaged(index: str, report: AuditReport) -> IndexDamaged:
    """The error for a version that is damaged."""
    return IndexDamaged(
        f"Index {index!r}: version {report.version} is damaged: {'; '.join(report.problems())}",
        report=report.to_json(),
    )
