"""The documented import paths: every name resolves to what its module is named for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from airflow_provider_mlops import hooks, notifiers, operators, sensors, triggers
from airflow_provider_mlops.compat import (
    BaseHook,
    BaseNotifier,
    BaseOperator,
    BaseSensorOperator,
    BaseTrigger,
)

BASES = {
    operators: BaseOperator,
    hooks: BaseHook,
    notifiers: BaseNotifier,
    sensors: BaseSensorOperator,
    triggers: BaseTrigger,
}
NAMES = [(module, name) for module in BASES for name in module.__all__]


@pytest.mark.parametrize(
    ("module", "name"), NAMES, ids=[f"{module.__name__.rpartition('.')[2]}.{name}" for module, name in NAMES]
)
def test_public_name_is_a_documented_class_of_its_kind(module, name):
    kind = getattr(module, name)
    assert issubclass(kind, BASES[module])
    assert kind.__name__ == name
    assert (kind.__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("module", BASES, ids=lambda module: module.__name__)
def test_names_can_be_listed_and_unknown_ones_are_attribute_errors(module):
    assert sorted(module.__all__) == dir(module)
    with pytest.raises(AttributeError, match="no attribute 'Nonexistent'"):
        module.Nonexistent  # noqa: B018


@pytest.mark.parametrize("module", BASES, ids=lambda module: module.__name__)
def test_type_checkers_see_the_same_names(module):
    # Each name stands twice: for the type checker and in the table; the first is read from the source.
    tree = ast.parse(Path(module.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname
        for node in guarded.body
        if isinstance(node, ast.ImportFrom) and node.module != "airflow_provider_mlops._lazy"
        for alias in node.names
    }
    assert seen == set(module.__all__)
