from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from airflow_provider_mlops.bento import operators
from airflow_provider_mlops.bento.errors import BentoContextInvalid
from airflow_provider_mlops.compat import AirflowFailException, Asset
from airflow_provider_mlops.errors import ConnectionMissing, InvalidArgument
from airflow_provider_mlops.mlflow.reference import ResolvedModel
from airflow_provider_mlops.operators import BentoBuildOperator


class Builder:
    """Takes the place of the isolated build and remembers what it was asked for."""

    def __init__(self, **settings):
        self.settings = settings
        self.killed = False
        Builder.last = self

    def build(self, request, models):
        self.request, self.models = request, models
        return {
            "schema": 1, "kind": "bento", "tag": "scorer:h-1", "name": "scorer", "version": "h-1",
            "uri": "file:///s/scorer/h-1.tar", "digest": "sha256:1", "input_hash": "1", "size": 1,
            "models": {}, "origins": {}, "reused": False,
        }  # fmt: skip

    def kill(self):
        self.killed = True


class Events:
    """Airflow's outlet events, as far as an operator uses them."""

    def __init__(self):
        self.events = {}

    def __getitem__(self, asset):
        return self.events.setdefault(asset.uri, SimpleNamespace(extra={}))

    def extra_of(self, asset):
        return self.events[asset.uri].extra if asset.uri in self.events else None


@pytest.fixture
def builder(monkeypatch):
    monkeypatch.setattr(operators, "BentoBuilder", Builder)
    return Builder


def test_importing_the_operator_imports_neither_bentoml_nor_the_build_tools():
    code = "import sys; from airflow_provider_mlops.operators import BentoBuildOperator; print('bentoml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_a_model_may_be_a_uri_a_path_or_a_whole_payload(builder, tmp_path):
    task = BentoBuildOperator(
        task_id="build",
        context=str(tmp_path),
        store="file:///srv/bentos",
        models={
            "payload": {"kind": "pod", "uri": "file:///models/a%20b"},
            "uri": "file:///models/c",
            "path": "/models/d",
        },
    )
    task.execute({})
    assert {name: str(place) for name, place in builder.last.models.items()} == {
        "payload": "/models/a b",
        "uri": "/models/c",
        "path": "/models/d",
    }


class Registry:
    """Takes the place of MLflow's hook; its alias moves as soon as it has been asked for."""

    champion = 1

    def __init__(self, mlflow_conn_id, *, timeout):
        assert mlflow_conn_id == "ml"

    def resolve(self, reference):
        version, Registry.champion = Registry.champion, Registry.champion + 1
        return ResolvedModel(reference, "https://ml", "docs", str(version), "run1", f"s3://ml/{version}")

    def download(self, model, folder):
        (folder / "weights").write_text(model.version)
        return folder


def test_a_model_in_mlflow_is_looked_up_once_and_fetched_as_what_it_was_then(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "MlflowHook", Registry)
    monkeypatch.setattr(Registry, "champion", 3)
    task = BentoBuildOperator(
        task_id="build",
        context=str(tmp_path),
        store="/s",
        models={"classifier": {"kind": "model", "uri": "models:/docs@champion"}, "path": "/models/d"},
        mlflow_conn_id="ml",
    )
    task.execute({})
    assert str(builder.last.models["path"]) == "/models/d"
    model = builder.last.models["classifier"]
    assert model.origin == {
        "reference": "models:/docs@champion",
        "system": "mlflow",
        "tracking_uri": "https://ml",
        "registered_model": "docs",
        "version": "3",
        "run_id": "run1",
        "source": "s3://ml/3",
    }
    assert (model.fetch(tmp_path / "copy") / "weights").read_text() == "3"
    assert Registry.champion == 4


def test_a_model_in_mlflow_without_a_connection_or_with_a_wrong_reference_fails_before_the_build(
    builder, tmp_path
):
    Builder.last = None
    for reference, kind in (
        ("models:/docs@champion", ConnectionMissing),
        ("models:/docs/latest", InvalidArgument),
    ):
        task = BentoBuildOperator(task_id="build", context=str(tmp_path), store="/s", models={"m": reference})
        with pytest.raises(kind) as caught:
            task.execute({})
        assert isinstance(caught.value, AirflowFailException)
    assert not hasattr(Builder.last, "request")


def test_a_payload_without_a_uri_is_refused_and_not_retried(tmp_path):
    task = BentoBuildOperator(
        task_id="build", context=str(tmp_path), store="/s", models={"m": {"kind": "pod"}}
    )
    with pytest.raises(InvalidArgument, match=r"models\['m'\]") as caught:
        task.execute({})
    assert isinstance(caught.value, AirflowFailException)


def test_a_folder_without_a_service_fails_before_an_environment_is_made(tmp_path):
    environments = tmp_path / "environments"
    (tmp_path / "empty").mkdir()
    task = BentoBuildOperator(
        task_id="build",
        context=str(tmp_path / "empty"),
        store=str(tmp_path / "store"),
        environments_dir=str(environments),
    )
    with pytest.raises(BentoContextInvalid) as caught:
        task.execute({})
    assert isinstance(caught.value, AirflowFailException)
    assert not environments.exists()
    assert not (tmp_path / "store").exists()


def test_the_default_store_lies_below_the_configured_artifact_folder(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", f"file://{tmp_path}/artifacts")
    BentoBuildOperator(task_id="build", context=str(tmp_path)).execute({})
    assert builder.last.settings["store"].uri("x", "1") == f"file://{tmp_path}/artifacts/bentos/x/1.tar"


def test_without_a_store_or_an_artifact_folder_the_setting_is_named(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", "")
    with pytest.raises(InvalidArgument, match="artifact"):
        BentoBuildOperator(task_id="build", context=str(tmp_path)).execute({})


def test_a_remote_context_is_refused(tmp_path):
    task = BentoBuildOperator(task_id="build", context="s3://bucket/service", store=str(tmp_path))
    with pytest.raises(InvalidArgument, match="disk"):
        task.execute({})


def test_an_asset_of_the_bento_gets_its_identity(builder, tmp_path):
    mine, other = Asset("bento://scorer"), Asset("bento://another")
    task = BentoBuildOperator(task_id="build", context=str(tmp_path), store="/s", outlets=[mine, other])
    events = Events()
    task.execute({"outlet_events": events})
    assert events.extra_of(mine) == {
        "tag": "scorer:h-1",
        "uri": "file:///s/scorer/h-1.tar",
        "digest": "sha256:1",
    }
    assert events.extra_of(other) is None


def test_the_password_of_an_index_connection_is_withheld_from_urls(builder, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_CORP_INDEX",
        '{"conn_type": "http", "host": "https://pypi.example.com/simple", "login": "ci", "password": "hunter22"}',
    )
    BentoBuildOperator(
        task_id="build", context=str(tmp_path), store="/s", index_conn_id="corp_index"
    ).execute({})
    access = builder.last.settings["access"]
    assert access.environment["UV_DEFAULT_INDEX"] == "https://pypi.example.com/simple"
    assert access.secrets == ("hunter22",)
    assert "hunter22" not in repr(access)


def test_a_kill_reaches_the_build_and_is_harmless_before_it(builder, tmp_path):
    task = BentoBuildOperator(task_id="build", context=str(tmp_path), store="/s")
    task.on_kill()
    task.execute({})
    task.on_kill()
    assert builder.last.killed


def test_external_isolation_needs_an_interpreter(tmp_path):
    task = BentoBuildOperator(
        task_id="build", context=str(tmp_path), store=str(tmp_path), isolation="external"
    )
    with pytest.raises(InvalidArgument, match="python"):
        task.execute({})


def test_every_templated_argument_is_kept_as_given():
    given = {
        "context": "{{ params.a }}", "service": "{{ params.b }}", "bentofile": "{{ params.c }}", "name": "{{ 1 }}",
        "version": "{{ ds_nodash }}", "models": {"m": "{{ 2 }}"}, "labels": {"l": "{{ 3 }}"}, "args": {"a": "{{ 4 }}"},
        "store": "{{ 5 }}",
    }  # fmt: skip
    task = BentoBuildOperator(task_id="build", **given)
    assert {field: getattr(task, field) for field in task.template_fields} == given
