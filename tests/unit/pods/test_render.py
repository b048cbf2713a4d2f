"""What recipes become, judged by the Kubernetes provider's own code."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes import client

from airflow_provider_mlops.pods import (
    GPU,
    Checkpoint,
    Feature,
    Fragment,
    PodRecipe,
    Resources,
    SharedMemory,
    Spot,
)
from airflow_provider_mlops.pods.errors import RecipeFieldUnknown, RecipeInvalid

IMAGE = "registry.example.com/train:1"
TRAINING = (
    PodRecipe(IMAGE, platform="karpenter")
    + GPU("L4")
    + Spot()
    + Checkpoint(pvc="checkpoints")
    + SharedMemory("8Gi")
    + Resources(cpu=4, memory="16Gi")
    + Fragment(
        {
            "spec": {
                "automountServiceAccountToken": False,
                "tolerations": [{"key": "team", "operator": "Exists"}],
            }
        }
    )
)


def plain(model: Any) -> Any:
    return client.ApiClient().sanitize_for_serialization(model)


def built(
    recipe: PodRecipe, monkeypatch: pytest.MonkeyPatch, context: dict[str, Any] | None = None, **more: Any
) -> Any:
    """The pod that the operator would create."""
    hook = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: "ml")
    monkeypatch.setattr(KubernetesPodOperator, "hook", hook)
    operator = KubernetesPodOperator(task_id="train", **recipe.kpo_kwargs(), **more)
    if context:
        operator.render_template_fields(context)
    return plain(operator.build_pod_request_obj(None))


def context(try_number: int, map_index: int = -1) -> dict[str, Any]:
    ti = SimpleNamespace(try_number=try_number, max_tries=2, map_index=map_index)
    return {
        "ti": ti,
        "dag": SimpleNamespace(dag_id="d"),
        "task": SimpleNamespace(task_id="train"),
        "run_id": "manual__1",
    }


def test_the_operator_makes_one_main_container_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = built(TRAINING, monkeypatch)
    containers = pod["spec"]["containers"]
    assert [each["name"] for each in containers] == ["base"]
    assert containers[0]["image"] == IMAGE
    assert containers[0]["resources"] == {
        "limits": {"nvidia.com/gpu": "1", "memory": "16Gi"},
        "requests": {"cpu": "4", "memory": "16Gi"},
    }
    assert [each["mountPath"] for each in containers[0]["volumeMounts"]] == ["/checkpoints", "/dev/shm"]
    assert [each["name"] for each in containers[0]["env"]] == ["CKPT_DIR"]


def test_the_operator_keeps_the_tolerations_of_all_features_and_each_volume_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pod = built(TRAINING.without(Spot) + Fragment({"spec": {"nodeSelector": {"zone": "a"}}}), monkeypatch)
    assert {each["key"] for each in pod["spec"]["tolerations"]} == {"nvidia.com/gpu", "team"}
    assert [each["name"] for each in pod["spec"]["volumes"]] == ["checkpoints", "shared-memory"]
    assert pod["spec"]["nodeSelector"] == {"zone": "a"}
    assert "affinity" in pod["spec"]


def test_the_operator_keeps_false(monkeypatch: pytest.MonkeyPatch) -> None:
    assert built(TRAINING, monkeypatch)["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("platform", ["gfd", "karpenter", "eks", "gke", "aks"])
def test_nothing_of_a_recipe_is_lost_on_the_way_through_the_operator(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    features: tuple[Feature, ...] = (
        GPU("A100") if platform != "eks" else GPU("L4"),
        Spot(),
        Checkpoint(pvc="checkpoints"),
        SharedMemory("8Gi"),
        Resources(cpu=1, memory="2Gi"),
        Fragment(
            {
                "metadata": {
                    "labels": {"team": "ml"},
                    "annotations": {"karpenter.sh/do-not-disrupt": "true"},
                },
                "spec": {
                    "hostNetwork": True,
                    "restartPolicy": "Never",
                    "serviceAccountName": "trainer",
                    "initContainers": [{"name": "fetch", "image": "fetch:1", "restartPolicy": "Always"}],
                    "containers": [
                        {
                            "name": "base",
                            "command": ["python"],
                            "args": ["train.py"],
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "securityContext": {"allowPrivilegeEscalation": False},
                            "ports": [{"containerPort": 8080}],
                            "envFrom": [{"secretRef": {"name": "hub"}}],
                        },
                        {"name": "exporter", "image": "exporter:1"},
                    ],
                    "topologySpreadConstraints": [
                        {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 1}
                    ],
                },
            }
        ),
    )
    recipe = PodRecipe(IMAGE, platform=platform, features=features)
    pod = built(recipe, monkeypatch)
    wanted = recipe.pod(templated=True)
    for name, value in wanted["spec"].items():
        if name != "containers":
            assert pod["spec"][name] == value
    got = {each["name"]: each for each in pod["spec"]["containers"]}
    for container in wanted["spec"]["containers"]:
        found = got[container["name"]]
        assert {name: found[name] for name in container} == container
    assert wanted["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == wanted["metadata"]["annotations"]


def test_arguments_given_beside_the_recipe_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = built(TRAINING, monkeypatch, arguments=["train.py"], name="train", namespace="ml")
    assert pod["spec"]["containers"][0]["args"] == ["train.py"]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(
    ("platform", "spot", "on_demand"), [("karpenter", "spot", "on-demand"), ("eks", "SPOT", "ON_DEMAND")]
)
def test_the_last_try_runs_on_demand(
    platform: Any, spot: str, on_demand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = PodRecipe(IMAGE, platform=platform) + Spot()
    for try_number, wanted in ((1, spot), (2, spot), (3, on_demand)):
        pod = built(recipe, monkeypatch, context(try_number))
        assert list(pod["spec"]["nodeSelector"].values()) == [wanted]


def test_every_try_gets_the_same_checkpoint_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def folder(**instance: int) -> str:
        env = built(TRAINING, monkeypatch, context(**instance))["spec"]["containers"][0]["env"]
        found: str = env[0]["value"]
        return found

    assert folder(try_number=1) == folder(try_number=3) == "/checkpoints/d/manual__1/train"
    assert folder(try_number=1, map_index=0) == "/checkpoints/d/manual__1/train/0"


def test_memory_can_grow_with_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = PodRecipe(IMAGE) + Resources(memory="{{ 16 * 2 ** (ti.try_number - 1) }}Gi")
    resources = built(recipe, monkeypatch, context(2))["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"memory": "32Gi"}, "requests": {"memory": "32Gi"}}


def test_each_argument_is_one_that_the_operator_has() -> None:
    assert TRAINING.kpo_kwargs().keys() <= inspect.signature(KubernetesPodOperator.__init__).parameters.keys()


def test_variables_stay_out_of_the_exception_text() -> None:
    assert TRAINING.kpo_kwargs()["log_pod_spec_on_failure"] is False


def test_jinja_where_the_operator_renders_none_is_refused() -> None:
    recipe = PodRecipe(IMAGE) + Fragment({"spec": {"priorityClassName": "{{ params.priority }}"}})
    with pytest.raises(RecipeInvalid, match=r"spec\.priorityClassName .* renders no Jinja there"):
        recipe.kpo_kwargs()


def test_a_restart_policy_that_the_operator_would_replace_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="always sets Never"):
        (PodRecipe(IMAGE) + Fragment({"spec": {"restartPolicy": "OnFailure"}})).kpo_kwargs()


# --- KubernetesExecutor ---


def test_the_executor_finds_the_main_container_first() -> None:
    sidecar = {"spec": {"containers": [{"name": "a-sidecar", "image": "s"}]}}
    override = (PodRecipe(IMAGE) + Fragment(sidecar) + GPU("L4")).pod_override()
    assert isinstance(override, client.V1Pod)
    assert [each.name for each in override.spec.containers] == ["base", "a-sidecar"]


def test_the_executor_merges_the_override_with_its_own_pod() -> None:
    own = client.V1Pod(
        metadata=client.V1ObjectMeta(name="worker"),
        spec=client.V1PodSpec(containers=[client.V1Container(name="base", image="airflow:3", args=["run"])]),
    )
    pod = plain(PodGenerator.reconcile_pods(own, TRAINING.pod_override()))
    assert [each["name"] for each in pod["spec"]["containers"]] == ["base"]
    assert pod["spec"]["containers"][0]["args"] == ["run"]
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_an_override_holds_no_jinja() -> None:
    assert "{{" not in yaml.safe_dump(plain(TRAINING.pod_override()))
    with pytest.raises(RecipeInvalid, match="renders no Jinja in pods of the KubernetesExecutor"):
        (PodRecipe(IMAGE) + Resources(memory="{{ 16 }}Gi")).pod_override()


def test_a_template_file_is_what_the_provider_reads_back() -> None:
    text = TRAINING.pod_template_yaml()
    assert plain(PodGenerator.deserialize_model_dict(yaml.safe_load(text)))["spec"] == TRAINING.pod()["spec"]


# --- the client's models ---


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        (
            {"spec": {"topologySpreadConstraint": []}},
            r"spec\.topologySpreadConstraint .*did you mean topologySpreadConstraints\?",
        ),
        ({"spec": {"node_selector": {}}}, "did you mean nodeSelector"),
        (
            {"spec": {"containers": [{"name": "base", "resource": {"limits": {}}}]}},
            r"spec\.containers\[base\]\.resource .*did you mean resources",
        ),
        ({"typo": 1}, "typo is not a field of a pod"),
    ],
)
def test_a_field_that_pods_do_not_have_is_refused(fragment: dict[str, Any], said: str) -> None:
    recipe = PodRecipe(IMAGE) + Fragment(fragment)
    for render in (recipe.kpo_kwargs, recipe.pod_override, recipe.pod_template_yaml):
        with pytest.raises(RecipeFieldUnknown, match=said):
            render()


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ({"spec": {"hostNetwork": "yes"}}, "spec.hostNetwork is 'yes', not of type bool"),
        ({"spec": {"priority": True}}, "spec.priority is True, not of type int"),
        ({"spec": {"containers": [{"name": "base", "args": "train.py"}]}}, r"args is 'train.py', not a list"),
        ({"spec": {"affinity": "gpu"}}, "spec.affinity is 'gpu', not a map"),
        (
            {"spec": {"containers": [{"name": "base", "volumeMounts": [{"mountPath": "/a"}]}]}},
            "Invalid value for `name`",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(fragment: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeInvalid, match=said):
        (PodRecipe(IMAGE) + Fragment(fragment)).pod_override()


def test_composing_a_recipe_loads_neither_airflow_nor_the_kubernetes_client() -> None:
    code = (
        "import sys; from airflow_provider_mlops.pods import *; "
        "(PodRecipe('i') + GPU('L4') + Spot() + Checkpoint(pvc='c') + Resources(cpu=1)).explain(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'airflow', 'kubernetes', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
