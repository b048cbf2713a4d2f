"""What a fault is, for the tests and for the table in the documentation, which is made of the same cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_mlops.errors import PermanentError, TemporaryError

Way = Literal["in place", "beside", "rebuild"]
WAYS: tuple[Way, ...] = ("in place", "beside", "rebuild")
#: Options of a run that takes this way; LanceDB never writes in place, and takes it for a plain sync.
OPTIONS: dict[Way, dict[str, Any]] = {
    "in place": {},
    "beside": {"gate": True},
    "rebuild": {"mode": "rebuild"},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault.

    :param id: of the test, and of the row in the documentation.
    :param what: what goes wrong.
    :param error: what the run ends with, or ``None`` if it ends well.
    :param ways: which runs are tested.
    :param moved: a run beside or a rebuild that failed has made its version live all the same.
    :param do: how it is brought about.
    """

    id: str
    what: str
    error: type[Exception] | None
    ways: tuple[Way, ...] = WAYS
    moved: bool = False
    do: Any = None

    @property
    def ends(self) -> str:
        """How the run ends, for the table."""
        if self.error is None:
            return "goes on, ends well"
        if issubclass(self.error, PermanentError):
            kind = "permanent"
        else:
            kind = "temporary" if issubclass(self.error, TemporaryError) else "as raised"
        return f"``{self.error.__name__}`` ({kind})"


def table(cases: Iterable[Case]) -> str:
    """The cases as a table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 24 36 24 16", ""]
    rows = [("Test", "Fault", "The run", "Tested")]
    rows += [(f"``{case.id}``", case.what, case.ends, ", ".join(case.ways)) for case in cases]
    for row in rows:
        lines += [f"   {'*' if not place else ' '} - {cell}" for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"
