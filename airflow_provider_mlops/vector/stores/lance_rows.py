"""LanceDB: rows, schemas and filters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.vector.ids import placed
from airflow_provider_mlops.vector.stores.base import FIXED_COLUMNS, Hit, Layout, Row

if TYPE_CHECKING:
    import numpy as np

META = b"mlops"
IDS_PER_FILTER = 1000
_NAMED = "vector_"


def table_meta(table: Any) -> dict[str, Any]:
    """What this package noted in the table's schema: start of the fingerprint, metric, full text or not."""
    text = (table.schema.metadata or {}).get(META, b"{}")
    meta: dict[str, Any] = {
        "fingerprint8": "0" * 8,
        "metric": "cosine",
        "full_text": False,
        "vectors": [],
        **json.loads(text),
    }
    return meta


def arrow_schema(layout: Layout, fingerprint8: str) -> Any:
    """Arrow schema of an empty version."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "keyword": pa.string(),
        "int": pa.int64(),
        "number": pa.float64(),
        "bool": pa.bool_(),
    }
    meta = {
        "fingerprint8": fingerprint8,
        "metric": layout.metric,
        "full_text": layout.full_text,
        "vectors": sorted(layout.vectors),
    }
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("doc", pa.string(), nullable=False),
            pa.field("ordinal", pa.int32(), nullable=False),
            pa.field("digest", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            *([pa.field("tenant", pa.string(), nullable=False)] if layout.tenants else []),
            *(pa.field(name, types[kind]) for name, kind in layout.properties.items()),
            pa.field("vector", pa.list_(pa.float32(), layout.dimension), nullable=False),
            *(
                pa.field(vector_column(name), pa.list_(pa.float32(), layout.dimension))
                for name in layout.vectors
            ),
        ],
        metadata={META: json.dumps(meta).encode()},
    )


def layout_problems(schema: Any, layout: Layout | None) -> list[str]:
    """Columns that are missing or of another type, and another metric; see :class:`.base.Snapshot`.

    :param schema: of the table.
    :param layout: what it should have; without it only the fixed columns are looked at.
    """
    wanted = arrow_schema(layout or Layout(1, "cosine", {}, False), "")
    types = {field.name: field.type for field in schema}
    problems = []
    for field in wanted:
        found = types.get(field.name)
        if found is None:
            problems.append(f"column {field.name!r} is missing")
        elif found != field.type and (layout or field.name != "vector"):
            problems.append(f"column {field.name!r} is {found}, not {field.type}")
    metric = json.loads((schema.metadata or {}).get(META, b"{}")).get("metric")
    if layout and metric != layout.metric:
        problems.append(f"the metric is {metric}, not {layout.metric}")
    return problems


def arrow_batch(rows: Sequence[Row], schema: Any) -> Any:
    """Rows as Arrow columns."""
    import pyarrow as pa

    values = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    columns = []
    for field in schema:
        if field.name == "vector":
            columns.append(_vector_array(values["vector"], field.type.list_size))
        elif is_vector(field):
            name = field.name.removeprefix(_NAMED)
            columns.append(_sparse_array([more.get(name) for more in values["more"]], field.type.list_size))
        elif field.name == "tenant":
            columns.append(pa.array([placed(chunk)[0] for chunk in values["id"]], type=field.type))
        elif field.name in FIXED_COLUMNS:
            columns.append(pa.array(values[field.name], type=field.type))
        else:
            own = [properties.get(field.name) for properties in values["properties"]]
            columns.append(pa.array(own, type=field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def vector_column(name: str | None) -> str:
    """Column of the vectors of that name; ``None`` for the main ones."""
    return "vector" if name is None else _NAMED + name


def is_vector(field: Any) -> bool:
    """Whether a field of a table's schema holds vectors."""
    import pyarrow as pa

    return bool(pa.types.is_fixed_size_list(field.type))


def vectors_of(column: Any) -> list[np.ndarray | None]:
    """The vectors of a column, ``None`` where there is none."""
    import numpy as np

    return [None if vector is None else np.array(vector, np.float32) for vector in column.to_pylist()]


def _sparse_array(vectors: Sequence[np.ndarray | None], dimension: int) -> Any:
    import pyarrow as pa

    return pa.array(
        [None if vector is None else vector.tolist() for vector in vectors],
        type=pa.list_(pa.float32(), dimension),
    )


def _vector_array(vectors: Sequence[np.ndarray], dimension: int) -> Any:
    import numpy as np
    import pyarrow as pa

    little = np.dtype("<f4")
    if {vector.dtype for vector in vectors} != {little}:
        vectors = [vector.astype(little) for vector in vectors]
    # Joined as bytes, which takes a fifth of the time of ``numpy.concatenate``.
    packed = b"".join([vector.data for vector in vectors])
    numbers = pa.Array.from_buffers(pa.float32(), len(vectors) * dimension, [None, pa.py_buffer(packed)])
    return pa.FixedSizeListArray.from_arrays(numbers, dimension)


def id_conditions(ids: Sequence[str]) -> Iterator[str]:
    """SQL filters that select ids, a thousand at a time."""
    for start in range(0, len(ids), IDS_PER_FILTER):
        yield f"id IN ({', '.join(quoted(chunk) for chunk in ids[start : start + IDS_PER_FILTER])})"


def of_tenant(tenant: str | None) -> str | None:
    """SQL filter that selects a tenant's rows."""
    return None if tenant is None else f"tenant = {quoted(tenant)}"


def quoted(text: str) -> str:
    """An SQL string."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def to_hit(row: dict[str, Any]) -> Hit:
    """A result row of LanceDB."""
    fixed = {name: row.pop(name) for name in ("id", "doc", "text")}
    for name in ("ordinal", "digest", "tenant"):
        row.pop(name, None)
    distance, score = row.pop("_distance", None), row.pop("_score", None)
    return Hit(**fixed, properties=row, distance=distance, score=score)
