"""The tables in the documentation are those of the tested cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.vector import fault_contract, lance_faults
from tests.unit.vector.fault_cases import Case, table
from tests.wire.vector import weaviate_faults

PAGE = Path(__file__).parents[3] / "docs" / "stations" / "vector_faults.rst"


@pytest.mark.parametrize(
    "cases",
    [fault_contract.ALL_CASES, weaviate_faults.CASES, lance_faults.ALL_CASES],
    ids=["both", "weaviate", "lance"],
)
def test_table_is_the_one_of_the_cases(cases: list[Case]) -> None:
    assert table(cases) in PAGE.read_text()
    assert len({case.id for case in cases}) == len(cases)
