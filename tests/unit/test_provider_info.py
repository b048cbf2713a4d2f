"""What Airflow is told about the package holds against Airflow's own schemas and its own discovery code."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import airflow
import jsonschema
import pytest

from airflow_provider_mlops import __version__
from airflow_provider_mlops.compat import AIRFLOW_3, AIRFLOW_3_3, BaseHook, BaseNotifier, BaseOperatorLink
from airflow_provider_mlops.get_provider_info import get_provider_info

INFO = get_provider_info()
CONNECTION_TYPES: list[dict[str, Any]] = INFO["connection-types"]
ASSET_URIS: list[dict[str, Any]] = INFO["asset-uris"]


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(airflow.__path__[0]) / name).read_text())
    return schema


def _is_masked(key: str) -> bool:
    if AIRFLOW_3_3:
        from airflow._shared.secrets_masker import should_hide_value_for_key
    elif AIRFLOW_3:
        from airflow.sdk.execution_time.secrets_masker import should_hide_value_for_key
    else:
        from airflow.utils.log.secrets_masker import should_hide_value_for_key
    return bool(should_hide_value_for_key(key))


def test_the_entry_point_of_the_installed_distribution_gives_this_info():
    found = [
        point
        for point in entry_points(group="apache_airflow_provider")
        if point.dist is not None and point.dist.name == "airflow-provider-mlops"
    ]
    assert [point.load()() for point in found] == [INFO]


def test_info_satisfies_the_schema_that_airflow_validates_with():
    jsonschema.validate(INFO, _schema("provider_info.schema.json"))


def test_every_notifier_that_is_told_of_is_one_and_is_public():
    from airflow_provider_mlops import notifiers

    told = {_load(path) for path in INFO["notifications"]}
    assert all(issubclass(notifier, BaseNotifier) for notifier in told)
    assert told == {getattr(notifiers, name) for name in notifiers.__all__}


def test_package_name_is_the_canonical_distribution_name():
    # Any other spelling stops every airflow command of the deployment.
    assert INFO["package-name"] == "airflow-provider-mlops"
    assert INFO["versions"] == [__version__]


@pytest.mark.skipif(
    not AIRFLOW_3_3, reason="Only Airflow 3.3 and later describe connection fields in a schema"
)
@pytest.mark.parametrize("entry", CONNECTION_TYPES, ids=lambda entry: entry["connection-type"])
def test_connection_form_satisfies_the_stricter_schema_of_provider_yaml(entry):
    jsonschema.validate(
        entry, _schema("provider.yaml.schema.json")["properties"]["connection-types"]["items"]
    )


@pytest.mark.parametrize("entry", CONNECTION_TYPES, ids=lambda entry: entry["connection-type"])
def test_hook_of_a_connection_type_agrees_with_its_declaration(entry):
    hook = _load(entry["hook-class-name"])
    assert issubclass(hook, BaseHook)
    assert hook.conn_type == entry["connection-type"]
    assert hook.hook_name == entry["hook-name"]
    # Both are what Airflow's own discovery reads from the class.
    assert hook.default_conn_name == f"{entry['connection-type']}_default"
    assert hook.conn_name_attr.endswith("conn_id")
    assert callable(hook.test_connection)


@pytest.mark.parametrize("entry", CONNECTION_TYPES, ids=lambda entry: entry["connection-type"])
def test_form_of_older_airflow_has_the_same_fields(entry):
    pytest.importorskip("flask_appbuilder", reason="form libraries come with Airflow 2")
    hook = _load(entry["hook-class-name"])
    assert set(hook.get_connection_form_widgets()) == set(entry["conn-fields"])
    behaviour = hook.get_ui_field_behaviour()
    assert behaviour["hidden_fields"] == entry["ui-field-behaviour"]["hidden-fields"]
    assert behaviour["relabeling"] == entry["ui-field-behaviour"]["relabeling"]


def _secret_fields() -> list[str]:
    return [
        name
        for entry in CONNECTION_TYPES
        for name, field in entry["conn-fields"].items()
        if field["schema"].get("format") == "password"
    ]


@pytest.mark.parametrize("name", _secret_fields())
def test_secret_extra_has_a_name_that_airflow_masks(name):
    # `format: password` hides a field in the form only; the API masks by name.
    assert _is_masked(name)


@pytest.mark.parametrize("name", ["pat", "key", "ca_path"])
def test_masking_check_can_fail(name):
    assert not _is_masked(name)


@pytest.mark.parametrize("path", INFO["extra-links"])
def test_extra_link_is_a_link(path):
    assert issubclass(_load(path), BaseOperatorLink)


@pytest.mark.parametrize("path", INFO["cli"])
def test_commands_are_offered_under_one_name(path):
    assert [command.name for command in _load(path)()] == ["mlops"]


@pytest.mark.parametrize("entry", ASSET_URIS + INFO["dataset-uris"], ids=lambda entry: entry["schemes"][0])
def test_asset_uri_has_a_handler_and_no_empty_factory(entry):
    # "factory": None stops the ProvidersManager of Airflow 3.1 and 3.3; an entry without "handler" is ignored.
    assert "factory" not in entry
    handler = _load(entry["handler"])
    scheme = entry["schemes"][0]
    assert handler(urlsplit(f"{scheme}://Host/team/name/")).geturl() == f"{scheme}://host/team/name"
    with pytest.raises(ValueError, match="names nothing"):
        handler(urlsplit(f"{scheme}://"))


def test_every_option_of_the_config_section_has_a_description_and_a_default():
    options = INFO["config"]["mlops"]["options"]
    for name, option in options.items():
        assert option["description"].endswith("."), name
        assert isinstance(option["default"], str), name
        assert option["version_added"], name


def test_loading_the_entry_point_imports_neither_airflow_nor_anything_heavy():
    # Airflow loads it inside `import airflow`; an import of Airflow here would be circular.
    program = (
        "import sys; before = set(sys.modules)\n"
        "from airflow_provider_mlops.get_provider_info import get_provider_info; get_provider_info()\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    added = set(done.stdout.split())
    assert added - set(sys.stdlib_module_names) == {"airflow_provider_mlops"}
