"""What the stations share to tell OpenLineage. Only used where its client is installed, and imported only then."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any


def facet_module(name: str) -> Any:
    """One module of the client's standard facets.

    :raises ImportError: the client is not installed.
    :raises AttributeError: it is too old to have that one.
    """
    return getattr(importlib.import_module("openlineage.client.facet_v2"), name)


def own_run_facet(name: str, fields: Mapping[str, str], facts: Mapping[str, Any]) -> Any:
    """A run facet of ours.

    :param name: of its class.
    :param fields: name of each field, and key of the fact that it shows; what is not known is left out.
    :param facts: what is known. Never a secret: whoever reads events sees it all.
    :raises ImportError: the client is not installed.
    """
    return _facet_class(name, tuple(fields))(**{field: facts.get(key) for field, key in fields.items()})


@functools.cache
def _facet_class(name: str, fields: tuple[str, ...]) -> Any:
    import attrs

    base = importlib.import_module("openlineage.client.facet_v2").RunFacet
    made: Any = attrs.make_class(name, {field: attrs.field(default=None) for field in fields}, bases=(base,))
    # Airflow hides values by their names, and would hide a number of tokens.
    made._additional_skip_redact = list(fields)
    return made
