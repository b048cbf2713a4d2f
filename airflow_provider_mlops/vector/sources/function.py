"""Documents from a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.vector.functions import check_function_name, load_function
from airflow_provider_mlops.vector.sources.base import SourceRecord

_WHAT = "Records of"


@dataclass(frozen=True, slots=True, repr=False)
class Records:
    """Documents from a function of your own.

    Wrap the function: Airflow calls bare functions in templated fields by itself.

    :param function: called without arguments, possibly several times; yields one mapping per document,
        each time the same. Or its name, ``package.module:function``, imported in the worker.
    :raises InvalidArgument: the text names no function.
    """

    function: Callable[[], Iterable[Any]] | str

    def __post_init__(self) -> None:
        if isinstance(self.function, str):
            check_function_name(self.function, _WHAT)

    def __repr__(self) -> str:
        # Airflow hashes a DAG by the texts of its arguments: no memory address may be among them.
        function = self.function
        if isinstance(function, str):
            return f"Records({function})"
        return f"Records({function.__module__}:{getattr(function, '__qualname__', type(function).__name__)})"

    def records(self) -> Iterator[SourceRecord]:
        """What the function yields; anything but a mapping is an unusable record. Its errors are its own.

        :raises InvalidArgument: there is no function of that name.
        """
        function = load_function(self.function, _WHAT) if isinstance(self.function, str) else self.function
        for number, record in enumerate(function(), start=1):
            if isinstance(record, Mapping):
                yield SourceRecord(f"record {number}", record)
            else:
                yield SourceRecord(
                    f"record {number}", None, f"not a mapping but {type(record).__name__}", repr(record)[:500]
                )
