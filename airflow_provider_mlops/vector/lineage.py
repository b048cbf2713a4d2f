"""What OpenLineage is told of an index: where it is, what it was made from, and how it was judged.

Only asked where OpenLineage's client is installed, and imported only then. Facets hold names, counts and figures; no
connection's secret, no credentials of a URI, no text of a document.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_provider_mlops.base.lineage import facet_module, own_run_facet
from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.vector.gate import Gate
from airflow_provider_mlops.vector.spec import VectorIndex
from airflow_provider_mlops.vector.stores.base import FIXED_COLUMNS
from airflow_provider_mlops.vector.stores.weaviate_client import http_address

#: Names of our own run facets.
INDEX_FACET, CARE_FACET = "vector_index", "vector_maintenance"

#: Namespace and name of a dataset.
Place = tuple[str, str]

# Other names of a scheme that OpenLineage writes one way.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss", "wasb": "wasbs"}
_WILDCARDS = "*?["

#: Field of the facet, and key of the payload (or of what is known of a failure) that it shows.
_INDEX_FIELDS: Mapping[str, str] = {
    "index": "index",
    "backend": "backend",
    "version": "version",
    "physical": "physical",
    "previousVersion": "previous_version",
    "active": "active",
    "action": "action",
    "reason": "reason",
    "fingerprint": "fingerprint",
    "documents": "documents",
    "chunks": "chunks",
    "added": "added",
    "updated": "updated",
    "deleted": "deleted",
    "unchanged": "unchanged",
    "bad": "bad",
    "embedded": "embedded",
    "cached": "cached",
    "healed": "healed",
    "tokens": "tokens",
    "cost": "cost",
    "duration": "duration",
    "gate": "gate",
    "error": "error",
}
_CARE_FIELDS: Mapping[str, str] = {
    "index": "index",
    "backend": "backend",
    "action": "action",
    "version": "version",
    "physical": "physical",
    "previousVersion": "previous_version",
    "damaged": "damaged",
    "audit": "audit",
    "dropped": "dropped",
    "dryRun": "dry_run",
    "error": "error",
}
# Figures of an audit that are damage where they are not 0.
_DAMAGE = ("repeated", "missing", "doubled", "foreign", "without_vector", "unlisted", "unfindable")


def file_place(uri: str) -> Place:
    """Namespace and name of a file; of the folder that is searched, where there are wildcards.

    Who reads (an Airflow connection before the bucket, credentials) belongs to no name.

    :param uri: URI or path.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        path = unquote(rest) if separator else uri
        # Wildcards at the very start search the root, or the folder of the process.
        return "file", str(Path(_searched(path) or ("/" if path.startswith("/") else ".")).absolute())
    authority, _, path = rest.partition("/")
    name = _searched(path).strip("/")
    return f"{_SCHEMES.get(scheme, scheme)}://{authority.rpartition('@')[2]}", name or "/"


def _searched(path: str) -> str:
    parts = path.split("/")
    first = next(
        (place for place, part in enumerate(parts) if any(sign in part for sign in _WILDCARDS)), None
    )
    return path if first is None else "/".join(parts[:first])


def file_places(uris: Iterable[str]) -> list[Place]:
    """Their places, each once, in order."""
    return list(dict.fromkeys(map(file_place, uris)))


def index_place(index: VectorIndex, connection: ConnectionInfo | None) -> Place:
    """Namespace and name of an index: what its readers ask for.

    :param index: with its place filled in.
    :param connection: of the index, if it has one.
    :raises ConnectionIncomplete: it does not say where the index is.
    """
    if index.backend == "weaviate":
        assert connection is not None
        host, port, _ = http_address(connection)
        return f"weaviate://{host}:{port}", index.name
    location = index.uri or (connection.host if connection else None) or ""
    return file_place(f"{location.rstrip('/')}/{index.name}.lance")


def index_facts(
    index: VectorIndex, place: Place, inputs: Sequence[Any], gate: Gate | None, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of ``operator_lineage`` for a run of an index.

    :param place: of the index.
    :param inputs: places of what was read, or datasets that somebody else has made.
    :param gate: that a version was judged by.
    :param facts: the payload; of a failure ``error``, and ``gate`` if that was the failure.
    :raises ImportError: the client of OpenLineage is not installed.
    """
    event = importlib.import_module("openlineage.client.event_v2")
    run_facets = {INDEX_FACET: own_run_facet("VectorIndexRunFacet", _INDEX_FIELDS, facts)}
    if gate and facts.get("gate"):
        run_facets.update(_test_facet(gate, facts["gate"]))
    read = [event.InputDataset(*dataset) if isinstance(dataset, tuple) else dataset for dataset in inputs]
    planned = facts.get("kind") == "vector.plan"
    outputs = [] if planned else [_output(event, index, place, facts)]
    return {"run_facets": run_facets, "job_facets": {}, "inputs": read, "outputs": outputs}


def _output(event: Any, index: VectorIndex, place: Place, facts: Mapping[str, Any]) -> Any:
    dataset = event.OutputDataset(*place, facets={"schema": _schema(index)})
    if "version" in facts:
        dataset.facets.update(_version(facts["version"]))
        statistics = facet_module("output_statistics_output_dataset")
        dataset.outputFacets["outputStatistics"] = statistics.OutputStatisticsOutputDatasetFacet(
            rowCount=facts["added"] + facts["updated"]
        )
    return dataset


def _schema(index: VectorIndex) -> Any:
    schema = facet_module("schema_dataset")
    types = {"ordinal": "int", "vector": f"float[{index.embedder.dimension or ''}]"}
    columns = {name: types.get(name, "text") for name in FIXED_COLUMNS} | dict(index.properties)
    return schema.SchemaDatasetFacet(
        fields=[schema.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in columns.items()]
    )


def _version(name: str) -> dict[str, Any]:
    version = facet_module("dataset_version_dataset")
    return {"version": version.DatasetVersionDatasetFacet(datasetVersion=name)}


def gate_tests(gate: Gate, report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a gate demanded and what it got, one test per demand.

    :param report: its figures, as in the payload.
    """
    floors = {
        f"recall@{gate.k}": (gate.min_recall, report["recall"]),
        "MRR": (gate.min_mrr, report["mrr"]),
        f"nDCG@{gate.k}": (gate.min_ndcg, report["ndcg"]),
    }
    tests = [
        _test(name, got >= floor, f">= {floor:g}", f"{got:g}")
        for name, (floor, got) in floors.items()
        if floor is not None
    ]
    comparison = report.get("comparison")
    if gate.max_regression is not None and isinstance(comparison, Mapping):
        low, high = comparison["interval"]
        difference = comparison["difference"]
        passed = not (difference < -gate.max_regression and high < 0)
        expected = f"at most {gate.max_regression:g} below the live version"
        name = f"nDCG@{gate.k} against the live version"
        tests.append(_test(name, passed, expected, f"{difference:+g} (95 %: {low:+g} to {high:+g})"))
    return tests


def _test(name: str, passed: bool, expected: str, actual: str) -> dict[str, str]:
    status = "pass" if passed else "fail"
    return {"name": name, "status": status, "severity": "error", "expected": expected, "actual": actual}


def _test_facet(gate: Gate, report: Mapping[str, Any]) -> dict[str, Any]:
    try:
        module = facet_module("test_run")
    except AttributeError:
        return {}  # an older client; the figures are in our own facet as well
    tests = [module.TestExecution(type="golden_queries", **test) for test in gate_tests(gate, report)]
    return {"test": module.TestRunFacet(tests=tests)}


def care_facts(place: Place, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``operator_lineage`` for care of an index: an audit reads it, a rollback changes it.

    :param place: of the index.
    :param facts: the payload; of a failure ``action`` and ``error``, and ``audit`` if that was the failure.
    :raises ImportError: the client of OpenLineage is not installed.
    """
    event = importlib.import_module("openlineage.client.event_v2")
    report = facts.get("audit")
    inputs, outputs = [], []
    if report:
        read = event.InputDataset(*place, facets=_version(report["version"]))
        read.inputFacets["dataQualityAssertions"] = _assertions(report)
        inputs.append(read)
    if facts["action"] == "rollback" and facts.get("version"):
        outputs.append(event.OutputDataset(*place, facets=_version(facts["version"])))
    facet = own_run_facet("VectorMaintenanceRunFacet", _CARE_FIELDS, facts)
    return {"run_facets": {CARE_FACET: facet}, "job_facets": {}, "inputs": inputs, "outputs": outputs}


def _assertions(report: Mapping[str, Any]) -> Any:
    module = facet_module("data_quality_assertions_dataset")
    results = {f"no {figure} chunks": report[figure] == 0 for figure in _DAMAGE}
    results["no damage"] = not report["problems"]
    return module.DataQualityAssertionsDatasetFacet(
        assertions=[module.Assertion(assertion=name, success=passed) for name, passed in results.items()]
    )
