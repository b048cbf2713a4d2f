"""The documentation's error catalogue, generated from the class tree, is complete and says something about each."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import MlopsError

pytest.importorskip("sphinx", reason="part of the documentation tools")

EXTENSION = Path(__file__).parents[2] / "docs" / "_ext" / "error_catalogue.py"
_spec = importlib.util.spec_from_file_location("error_catalogue", EXTENSION)
assert _spec is not None
assert _spec.loader is not None
catalogue = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(catalogue)

LISTED = [kind for module in catalogue.error_modules() for kind in catalogue.leaves(module)]


def test_every_error_class_of_the_package_is_listed_once():
    def below(kind: type[MlopsError]) -> set[type[MlopsError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    defined = {
        kind
        for kind in below(MlopsError)
        # Classes that compat derives for Airflow, and those of tests, are not part of the tree.
        if kind.__module__.startswith("airflow_provider_mlops.")
        and kind not in catalogue.BRANCHES
        and not issubclass(kind, AirflowFailException)
    }
    assert defined <= set(LISTED)
    assert len(LISTED) == len(set(LISTED))


def test_shared_errors_come_first():
    assert catalogue.error_modules()[0] == "airflow_provider_mlops.errors"


@pytest.mark.parametrize("kind", LISTED, ids=lambda kind: kind.__name__)
def test_every_error_belongs_to_one_branch_and_is_described(kind):
    branches = [branch for branch in catalogue.BRANCHES[1:] if issubclass(kind, branch)]
    assert len(branches) == 1
    assert kind.__dict__.get("__doc__"), f"{kind.__name__} has no docstring of its own"
    assert any(line.strip().startswith(":Retried:") for line in catalogue.entry(kind))
