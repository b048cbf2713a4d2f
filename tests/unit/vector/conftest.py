import pytest

pytest.register_assert_rewrite(
    "tests.unit.vector.store_contract",
    "tests.unit.vector.indexing_contract",
    "tests.unit.vector.maintenance_contract",
    "tests.unit.vector.named_vectors_contract",
    "tests.unit.vector.preview_contract",
    "tests.unit.vector.fault_contract",
    "tests.unit.vector.task_contract",
    "tests.unit.vector.tenants_contract",
)
