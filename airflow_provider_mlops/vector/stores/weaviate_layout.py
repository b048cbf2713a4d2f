"""Weaviate: the settings of a version's collection, and whether a collection has them."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_mlops.vector.settings import HNSW, Flat, Quantization, WeaviateSettings
from airflow_provider_mlops.vector.stores.base import Layout
from airflow_provider_mlops.vector.stores.weaviate_batch import VECTOR_NAME

# How the server writes that it chooses ef itself.
_DYNAMIC_EF = -1


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
        "vector_config": [
            _vectors(layout)(
                name=name,
                vector_index_config=_vector_index(layout.weaviate, metrics[layout.metric]),
                quantizer=_quantizer(layout.weaviate.vector_index.quantization),
                **({} if layout.vectorizer is None else {"source_properties": [made_of]}),
            )
            for name, made_of in {VECTOR_NAME: "text", **layout.vectors}.items()
        ],
        **_other_settings(layout.weaviate),
        # Tenants are made by the run that brings their first document: a typo in a search must not make one.
        **({"multi_tenancy_config": Configure.multi_tenancy(True, False, True)} if layout.tenants else {}),
    }


def _vectors(layout: Layout) -> Any:
    """Makes the configuration of a vector: one that comes with the chunk, or that a module of the server makes."""
    from weaviate.classes.config import Configure

    if layout.vectorizer is None:
        return Configure.Vectors.self_provided
    module, settings = layout.vectorizer
    # Without vectorizeClassName the name of the version would be a part of every text.
    return partial(
        Configure.Vectors.custom,
        module_name=module,
        module_config={"vectorizeClassName": False, **settings},
    )


def _vector_index(settings: WeaviateSettings, metric: Any) -> Any:
    from weaviate.classes.config import Configure

    index = settings.vector_index
    if isinstance(index, Flat):
        return Configure.VectorIndex.flat(distance_metric=metric)
    return Configure.VectorIndex.hnsw(
        distance_metric=metric,
        ef_construction=index.ef_construction,
        max_connections=index.max_connections,
        ef=index.ef,
    )


def _quantizer(name: Quantization) -> Any:
    from weaviate.classes.config import Configure

    make = Configure.VectorIndex.Quantizer
    if name in ("rq8", "rq1"):
        return make.rq(bits=int(name[2:]))
    return getattr(make, name)()


def _other_settings(settings: WeaviateSettings) -> dict[str, Any]:
    from weaviate.classes.config import Configure

    arguments: dict[str, Any] = {
        # Without the index of missing values nobody can ask for chunks that lack a property.
        "inverted_index_config": Configure.inverted_index(
            bm25_k1=settings.bm25.k1, bm25_b=settings.bm25.b, index_null_state=True
        )
    }
    if settings.replicas is not None or settings.async_replication is not None:
        arguments["replication_config"] = Configure.replication(
            factor=settings.replicas, async_enabled=settings.async_replication
        )
    return arguments


def setting_changes(config: Any, settings: WeaviateSettings) -> dict[str, Any]:
    """Arguments of an update that brings a collection to the settings; empty if it has them.

    :param config: of the collection, as the client gives it.
    """
    from weaviate.classes.config import Reconfigure

    changes: dict[str, Any] = {}
    index = settings.vector_index
    if isinstance(index, HNSW):
        ef = _DYNAMIC_EF if index.ef is None else index.ef
        updates = [
            Reconfigure.Vectors.update(name=name, vector_index_config=Reconfigure.VectorIndex.hnsw(ef=ef))
            for name, there in config.vector_config.items()
            if there.vector_index_config.ef != ef
        ]
        if updates:
            changes["vector_config"] = updates
    bm25 = config.inverted_index_config.bm25
    if (bm25.k1, bm25.b) != (settings.bm25.k1, settings.bm25.b):
        changes["inverted_index_config"] = Reconfigure.inverted_index(
            bm25_k1=settings.bm25.k1, bm25_b=settings.bm25.b
        )
    if settings.async_replication not in (None, config.replication_config.async_enabled):
        changes["replication_config"] = Reconfigure.replication(async_enabled=settings.async_replication)
    return changes


def _index_problems(there: Any, settings: WeaviateSettings) -> list[str]:
    """What differs of the vector index, beside what can be changed in place."""
    wanted = settings.vector_index
    problems = []
    kind = there.vector_index_type()
    if kind != settings.kind:
        return [f"the vector index is {kind}, not {settings.kind}"]
    if (found := _quantization(there.quantizer)) != wanted.quantization:
        problems.append(f"the quantization is {found}, not {wanted.quantization}")
    if isinstance(wanted, HNSW):
        problems += [
            f"{name} is {getattr(there, name)}, not {getattr(wanted, name)}"
            for name in ("ef_construction", "max_connections")
            if getattr(there, name) != getattr(wanted, name)
        ]
    return problems


def _quantization(quantizer: Any) -> str:
    if quantizer is None:
        return "none"
    name = type(quantizer).__name__.strip("_").removesuffix("Config").lower()
    return f"rq{quantizer.bits or 8}" if name == "rq" else name


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
    if layout and config.multi_tenancy_config.enabled != layout.tenants:
        problems.append(f"it has {'no tenants' if layout.tenants else 'tenants'}")
    if layout and layout.properties and not config.inverted_index_config.index_null_state:
        problems.append("missing values of properties are not indexed")
    for name in (VECTOR_NAME, *(layout.vectors if layout else ())):
        vector = (config.vector_config or {}).get(name)
        if vector is None:
            problems.append(f"there is no vector {name!r}")
        elif layout:
            metric = vector.vector_index_config.distance_metric.value
            if metric.removesuffix("-squared") != layout.metric:
                problems.append(f"the metric is {metric}, not {layout.metric}")
            problems += _index_problems(vector.vector_index_config, layout.weaviate)
    return problems
