"""Rows of Parquet and Arrow files, in batches; vectors stay numpy arrays from the file to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airflow_provider_mlops.errors import ExtraMissing
from airflow_provider_mlops.vector.sources.base import PathLike, SourceRecord, plain

_ROWS_PER_BATCH = 2000
# Column chunks are read in pieces of this many bytes: whole row groups would not fit into bounded memory.
_BUFFER = 1 << 20


def arrow_records(path: PathLike, columns: frozenset[str] | None, *, parquet: bool) -> Iterator[SourceRecord]:
    """One record per row. Lists of numbers are numpy arrays.

    :param columns: the columns to read, those that the file has; default all.
    :param parquet: a Parquet file, not one in Arrow's file format.
    :raises ExtraMissing: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ExtraMissing("Parquet and Arrow files need pyarrow", next_step="pip install pyarrow") from error
    number = 0
    with path.open("rb") as file:
        for batch in (_parquet if parquet else _arrow)(file, columns):
            for record in arrow_rows(batch):
                number += 1
                yield SourceRecord(f"{path.name}:{number}", record)


def arrow_rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Rows of a record batch as dictionaries. Lists of numbers are numpy arrays, dates and decimals as in JSON."""
    import pyarrow

    names = batch.schema.names
    for values in zip(*(_values(column, pyarrow) for column in batch.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _parquet(file: Any, columns: frozenset[str] | None) -> Iterator[Any]:
    from pyarrow import parquet

    opened = parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    names = [name for name in opened.schema_arrow.names if columns is None or name in columns]
    yield from opened.iter_batches(batch_size=_ROWS_PER_BATCH, columns=names)


def _arrow(file: Any, columns: frozenset[str] | None) -> Iterator[Any]:
    from pyarrow import ipc

    # Not Arrow's stream format: the end of a cut-off stream looks like its end.
    opened = ipc.open_file(file)
    names = [name for name in opened.schema.names if columns is None or name in columns]
    for number in range(opened.num_record_batches):
        batch = opened.get_batch(number).select(names)
        for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
            yield batch.slice(start, _ROWS_PER_BATCH)


def _values(column: Any, pyarrow: Any) -> Sequence[Any]:
    types = pyarrow.types
    kind = column.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        if types.is_floating(kind.value_type) or types.is_integer(kind.value_type):
            return _vectors(column, types.is_fixed_size_list(kind))
    elif types.is_temporal(kind) or types.is_decimal(kind):
        return [plain(value) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values


def _vectors(column: Any, fixed: bool) -> list[Any]:
    # ``flatten`` leaves out what nulls cover; the lengths say the same.
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    vectors: list[Any] = []
    start = 0
    size = column.type.list_size if fixed else None
    lengths = [size] * len(column) if fixed else column.value_lengths().to_pylist()
    for length, valid in zip(lengths, column.is_valid().to_pylist(), strict=True):
        vectors.append(numbers[start : start + length] if valid else None)
        start += length if valid else 0
    return vectors
