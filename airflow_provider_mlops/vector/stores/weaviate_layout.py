"""Weaviate: the settings of a version's collection, and whether a collection has them."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_mlops.vector.stores.base import Layout
from airflow_provider_mlops.vector.stores.weaviate_batch import VECTOR_NAME


def collection_settings(layout: Layout) -> dict[str, Any]:
    """Arguments of a new collection. Everything is said, because servers may have other defaults."""
    from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances

    def exact(name: str, *, filterable: bool = True) -> Any:
        # With the default tokenization "a/b" equals "a-b", and deleting one key deletes its neighbours.
        return Property(
            name=name,
            data_type=DataType.TEXT,
            tokenization=Tokenization.FIELD,
            index_searchable=False,
            index_filterable=filterable,
        )

    def words(name: str) -> Any:
        return Property(
            name=name, data_type=DataType.TEXT, tokenization=Tokenization.WORD, index_searchable=True
        )

    plain = {"int": DataType.INT, "number": DataType.NUMBER, "bool": DataType.BOOL}
    own = {"text": words, "keyword": exact}
    metrics = {"cosine": VectorDistances.COSINE, "dot": VectorDistances.DOT, "l2": VectorDistances.L2_SQUARED}
    vectors: Any = Configure.Vectors.self_provided
    if layout.vectorizer is not None:
        module, settings = layout.vectorizer
        vectors = partial(
            Configure.Vectors.custom,
            module_name=module,
            # Without this the name of the version would be a part of every text.
            module_config={"vectorizeClassName": False, **settings},
            source_properties=["text"],
        )
    return {
        "properties": [
            exact("doc"),
            Property(name="ordinal", data_type=DataType.INT),
            exact("digest", filterable=False),
            words("text"),
            *(
                own[kind](name) if kind in own else Property(name=name, data_type=plain[kind])
                for name, kind in layout.properties.items()
            ),
        ],
        "vector_config": vectors(
            name=VECTOR_NAME,
            vector_index_config=Configure.VectorIndex.hnsw(distance_metric=metrics[layout.metric]),
            # A quarter of the memory, faster to build, and the same recall after rescoring.
            quantizer=Configure.VectorIndex.Quantizer.rq(bits=8),
        ),
    }


def layout_problems(config: Any, layout: Layout | None) -> list[str]:
    """What differs from :func:`collection_settings`; see :class:`.base.Snapshot`.

    :param config: of the collection, as the client gives it.
    :param layout: what it should have; without it only the fixed properties are looked at.
    """
    found = {prop.name: prop for prop in config.properties}
    problems = []
    for wanted in collection_settings(layout or Layout(0, "cosine", {}, False))["properties"]:
        prop = found.get(wanted.name)
        if prop is None:
            problems.append(f"property {wanted.name!r} is missing")
        elif prop.data_type != wanted.dataType:
            problems.append(
                f"property {wanted.name!r} is {prop.data_type.value}, not {wanted.dataType.value}"
            )
        elif wanted.tokenization and prop.tokenization != wanted.tokenization:
            problems.append(
                f"property {wanted.name!r} has tokenization {prop.tokenization and prop.tokenization.value}, "
                f"not {wanted.tokenization.value}"
            )
    vector = (config.vector_config or {}).get(VECTOR_NAME)
    if vector is None:
        problems.append(f"there is no vector {VECTOR_NAME!r}")
    elif layout:
        metric = vector.vector_index_config.distance_metric.value
        if metric.removesuffix("-squared") != layout.metric:
            problems.append(f"the metric is {metric}, not {layout.metric}")
    return problems
