"""The directive ``.. connection-fields:: TYPE``: the form of a connection type, read from the provider info."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_provider_mlops.get_provider_info import CONFIG_OPTIONS, CONNECTION_TYPES

STANDARD = ("host", "schema", "login", "password", "port", "extra")


def connection(entry: dict[str, Any]) -> Iterator[str]:
    """A definition list: the standard fields in use, then the extra ones."""
    behaviour = entry["ui-field-behaviour"]
    for name in STANDARD:
        if name not in behaviour["hidden-fields"]:
            yield f"``{name}``"
            yield f"   {behaviour['relabeling'].get(name, name.capitalize())}."
            if name in behaviour["placeholders"]:
                yield f"   Example: ``{behaviour['placeholders'][name]}``."
    for name, field in entry["conn-fields"].items():
        yield f"``{name}`` (in extra)"
        yield f"   {field['label']}. {field['description']}".rstrip()


def options() -> Iterator[str]:
    """A definition list of the ``[mlops]`` section."""
    for name, option in CONFIG_OPTIONS.items():
        default = f"``{option['default']}``" if option["default"] else "not set"
        yield f"``{name}`` ({option['type']}, default: {default})"
        yield f"   {option['description']}"


class ConnectionFields(SphinxDirective):
    """Fields of the connection type that is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found = next(entry for entry in CONNECTION_TYPES if entry["connection-type"] == self.arguments[0])
        return self.parse_text_to_nodes("\n".join(connection(found)))


class ConfigOptions(SphinxDirective):
    """Options of the ``[mlops]`` section."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes("\n".join(options()))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("connection-fields", ConnectionFields)
    app.add_directive("config-options", ConfigOptions)
    return {"parallel_read_safe": True}
