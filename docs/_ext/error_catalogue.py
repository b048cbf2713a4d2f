"""The directive ``.. error-catalogue::``: every error of the package, read from the class tree.

Walks the root module and every station's ``errors`` module, so a new leaf is documented by existing.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import airflow_provider_mlops
from airflow_provider_mlops.errors import MlopsError, PermanentError, TemporaryError

#: The root and its two branches are explained in prose; they are never raised themselves.
BRANCHES = (MlopsError, PermanentError, TemporaryError)


def error_modules() -> list[str]:
    """Names of the modules that define errors, the shared one first."""
    found = [
        module.name
        for module in pkgutil.walk_packages(airflow_provider_mlops.__path__, "airflow_provider_mlops.")
        if module.name.rpartition(".")[2] == "errors"
    ]
    return sorted(found, key=lambda name: (name.count("."), name))


def leaves(module: str) -> list[type[MlopsError]]:
    """Errors that ``module`` defines, in the order of its source."""
    return [
        kind
        for kind in vars(importlib.import_module(module)).values()
        if isinstance(kind, type)
        and issubclass(kind, MlopsError)
        and kind not in BRANCHES
        and kind.__module__ == module
    ]


def station(module: str) -> str:
    """Heading of a module's errors."""
    name = module.removeprefix("airflow_provider_mlops.").removesuffix("errors").rstrip(".")
    return name or "shared by all stations"


def entry(kind: type[MlopsError]) -> Iterator[str]:
    """reST lines that describe one error."""
    retried = "yes" if issubclass(kind, TemporaryError) else "no"
    yield f".. py:exception:: {kind.__module__}.{kind.__name__}"
    yield ""
    for line in (inspect.getdoc(kind) or "").splitlines():
        yield f"   {line}"
    yield ""
    if kind.remedy:
        yield f"   :Next step: {kind.remedy}"
    yield f"   :Retried: {retried}"
    yield ""


class ErrorCatalogue(SphinxDirective):
    """Sections, one per module of errors."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for module in error_modules():
            self.env.note_dependency(str(importlib.import_module(module).__file__))
            title = station(module)
            section = nodes.section(ids=[f"errors-{nodes.make_id(title)}"])
            section += nodes.title(text=title[0].upper() + title[1:])
            lines = [line for kind in leaves(module) for line in entry(kind)]
            self.state.nested_parse(StringList(lines, source=module), self.content_offset, section)
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("error-catalogue", ErrorCatalogue)
    return {"parallel_read_safe": True}
