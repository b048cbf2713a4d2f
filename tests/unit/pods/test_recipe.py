"""Recipes: composition, features, and what is refused while the DAG is parsed."""

from __future__ import annotations

import itertools
import json
import pickle
from typing import Any

import pytest

from airflow_provider_mlops.pods import (
    GPU,
    UNSET,
    Checkpoint,
    Feature,
    Fragment,
    PodRecipe,
    Resources,
    SharedMemory,
    Spot,
)
from airflow_provider_mlops.pods.catalogue import PLATFORMS, accelerator_models, accelerator_nodes
from airflow_provider_mlops.pods.errors import AcceleratorUnknown, RecipeConflict, RecipeInvalid

IMAGE = "registry.example.com/train:1"
FEATURES: tuple[Feature, ...] = (
    GPU("L4"),
    Spot(),
    Checkpoint(pvc="checkpoints"),
    SharedMemory("8Gi"),
    Resources(cpu=4, memory="16Gi"),
)


def spec(recipe: PodRecipe, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = recipe.pod(**how)["spec"]
    return found


def base(recipe: PodRecipe, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = spec(recipe, **how)["containers"][0]
    return found


def required(recipe: PodRecipe, **how: Any) -> list[dict[str, Any]]:
    node = spec(recipe, **how)["affinity"]["nodeAffinity"]
    terms: list[dict[str, Any]] = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return terms


def test_features_may_come_in_any_order() -> None:
    orders = itertools.islice(itertools.permutations(FEATURES), 0, None, 7)
    pods = [PodRecipe(IMAGE, features=order).pod() for order in orders]
    assert all(pod == pods[0] for pod in pods)


def test_a_feature_added_twice_counts_once() -> None:
    recipe = PodRecipe(IMAGE) + GPU("L4")
    assert recipe + GPU("L4") == recipe


def test_adding_makes_a_new_recipe() -> None:
    plain = PodRecipe(IMAGE)
    assert (plain + Spot()).features == (Spot(),)
    assert plain.features == ()


def test_a_contradiction_names_both_features() -> None:
    with pytest.raises(RecipeConflict) as refused:
        PodRecipe(IMAGE) + Resources(memory="16Gi") + Resources(memory="32Gi")
    assert "'16Gi' by Resources(memory='16Gi') and '32Gi' by Resources(memory='32Gi')" in str(refused.value)


def test_a_feature_can_be_replaced() -> None:
    recipe = PodRecipe(IMAGE) + GPU("L4", count=1) + Spot()
    bigger = recipe.without(GPU) + GPU("H100", count=8)
    assert base(bigger)["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert Spot() in bigger.features


def test_what_is_no_feature_is_refused() -> None:
    with pytest.raises(TypeError):
        PodRecipe(IMAGE) + {"spec": {}}  # type: ignore[operator]
    with pytest.raises(RecipeInvalid, match="is not a feature"):
        PodRecipe(IMAGE, features=({"spec": {}},))  # type: ignore[arg-type]


@pytest.mark.parametrize("image", ["", " x"])
def test_an_image_is_required(image: str) -> None:
    with pytest.raises(RecipeInvalid, match="image of the recipe"):
        PodRecipe(image)


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="Known are gfd, karpenter"):
        PodRecipe(IMAGE, platform="gcp")  # type: ignore[arg-type]


def test_explain_is_json_and_names_the_feature_of_each_field() -> None:
    told = json.loads(json.dumps(PodRecipe(IMAGE, features=FEATURES).explain()))
    assert told["spec.containers[base].image"] == ["PodRecipe"]
    assert told["spec.containers[base].resources.limits.nvidia.com/gpu"] == ["GPU(model='L4')"]
    assert told["spec.terminationGracePeriodSeconds"] == ["Spot()"]


def test_a_recipe_can_be_pickled_and_hashed() -> None:
    recipe = PodRecipe(IMAGE, features=FEATURES) + Fragment({"spec": {"hostNetwork": UNSET}})
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(recipe) == hash(pickle.loads(pickle.dumps(recipe)))


# --- GPU ---


def test_a_gpu_sets_the_limit_the_toleration_and_the_nodes() -> None:
    recipe = PodRecipe(IMAGE) + GPU("L4", count=2)
    assert base(recipe)["resources"] == {"limits": {"nvidia.com/gpu": "2"}}
    assert spec(recipe)["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    condition = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L4"]}
    assert required(recipe) == [{"matchExpressions": [condition]}]


@pytest.mark.parametrize(
    ("platform", "label", "value"),
    [
        ("gke", "cloud.google.com/gke-accelerator", "nvidia-l4"),
        ("karpenter", "karpenter.k8s.aws/instance-gpu-name", "l4"),
        ("eks", "node.kubernetes.io/instance-type", "g6.xlarge"),
    ],
)
def test_a_gpu_is_found_under_the_name_of_the_platform(platform: Any, label: str, value: str) -> None:
    condition = required(PodRecipe(IMAGE, platform=platform) + GPU("L4"))[0]["matchExpressions"][0]
    assert condition["key"] == label
    assert value in condition["values"]


def test_a_gpu_on_aks_tolerates_the_taint_of_gpu_pools() -> None:
    recipe = PodRecipe(IMAGE, platform="aks") + GPU("A100")
    assert {"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"} in spec(recipe)[
        "tolerations"
    ]


def test_a_misspelt_gpu_is_refused_with_a_suggestion() -> None:
    with pytest.raises(AcceleratorUnknown, match=r"did you mean H100\?"):
        GPU("H10O")


def test_a_gpu_that_the_platform_lacks_is_refused_when_composed() -> None:
    with pytest.raises(
        AcceleratorUnknown, match="not in the catalogue for aks, only for gfd, karpenter, eks, gke"
    ):
        PodRecipe(IMAGE, platform="aks") + GPU("L4")


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_a_gpu_count_is_a_whole_number(count: Any) -> None:
    with pytest.raises(RecipeInvalid, match="GPU count"):
        GPU("L4", count=count)


def test_the_catalogue_is_complete() -> None:
    for model in accelerator_models():
        label, values = accelerator_nodes(model, "gfd")
        assert label == "nvidia.com/gpu.product"
        assert values
    for platform in PLATFORMS:
        assert any(_known(model, platform) for model in accelerator_models())


def _known(model: str, platform: Any) -> bool:
    try:
        return bool(accelerator_nodes(model, platform)[1])
    except AcceleratorUnknown:
        return False


# --- Spot ---


@pytest.mark.parametrize(
    ("platform", "grace"), [("gfd", 25), ("karpenter", 110), ("eks", 110), ("gke", 25), ("aks", 25)]
)
def test_spot_leaves_as_much_grace_as_the_notice(platform: Any, grace: int) -> None:
    assert spec(PodRecipe(IMAGE, platform=platform) + Spot())["terminationGracePeriodSeconds"] == grace


def test_spot_without_a_platform_prefers_the_spot_nodes_of_every_cloud() -> None:
    recipe = PodRecipe(IMAGE) + Spot()
    preferred = spec(recipe)["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = {each["preference"]["matchExpressions"][0]["key"] for each in preferred}
    tolerated = {each["key"] for each in spec(recipe)["tolerations"]}
    assert {"karpenter.sh/capacity-type", "cloud.google.com/gke-spot"} <= labels
    assert tolerated == {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}


def test_spot_without_fallback_accepts_only_spot_nodes_of_any_cloud() -> None:
    terms = required(PodRecipe(IMAGE) + Spot(fallback="never"))
    assert len(terms) == 4
    assert all(len(term["matchExpressions"]) == 1 for term in terms)


def test_spot_and_gpu_requirements_hold_together() -> None:
    terms = required(PodRecipe(IMAGE) + Spot(fallback="never") + GPU("L4"))
    assert len(terms) == 4
    assert all(
        "nvidia.com/gpu.product" in [each["key"] for each in term["matchExpressions"]] for term in terms
    )


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_known_last_try_avoids_spot_nodes_and_others_insist_on_them(platform: Any) -> None:
    recipe = PodRecipe(IMAGE, platform=platform) + Spot()
    last = required(recipe, last_try=True)
    assert len(last) == 1
    assert {each["operator"] for each in last[0]["matchExpressions"]} == {"NotIn"}
    earlier = required(recipe, last_try=False)
    assert all(each["operator"] == "In" for term in earlier for each in term["matchExpressions"])


def test_an_unknown_fallback_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="Known are last-try, any, never"):
        Spot(fallback="sometimes")  # type: ignore[arg-type]


# --- Checkpoint, shared memory, resources ---


def test_a_checkpoint_folder_does_not_depend_on_the_try() -> None:
    recipe = PodRecipe(IMAGE) + Checkpoint(pvc="ckpt", path="/ckpt/")
    for templated in (True, False):
        env = {each["name"]: each for each in base(recipe, templated=templated)["env"]}
        assert env["CKPT_DIR"]["value"].startswith("/ckpt/")
        assert "try" not in json.dumps(env)
        for part in ("dag_id", "run_id", "task_id", "map_index"):
            assert part in json.dumps(env)


def test_the_executor_expands_the_checkpoint_folder_from_variables_set_before_it() -> None:
    env = base(PodRecipe(IMAGE) + Checkpoint(pvc="ckpt"))["env"]
    assert [each["name"] for each in env][-1] == "CKPT_DIR"
    assert env[-1]["value"] == "/checkpoints/$(CKPT_DAG_ID)/$(CKPT_RUN_ID)/$(CKPT_TASK_ID)/$(CKPT_MAP_INDEX)"


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a:b"])
def test_a_bad_checkpoint_path_is_refused(path: str) -> None:
    with pytest.raises(RecipeInvalid, match="Checkpoint path"):
        Checkpoint(pvc="ckpt", path=path)


def test_a_claim_name_is_dns_safe() -> None:
    with pytest.raises(RecipeInvalid, match="Checkpoint pvc is 'Bad_Name'"):
        Checkpoint(pvc="Bad_Name")


def test_two_checkpoints_contradict() -> None:
    with pytest.raises(RecipeConflict, match="claimName"):
        PodRecipe(IMAGE) + Checkpoint(pvc="a") + Checkpoint(pvc="b")


def test_shared_memory_is_an_in_memory_volume() -> None:
    recipe = PodRecipe(IMAGE) + SharedMemory("8Gi")
    assert spec(recipe)["volumes"] == [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    ]
    assert base(recipe)["volumeMounts"] == [{"name": "shared-memory", "mountPath": "/dev/shm"}]


def test_memory_is_limited_and_cpu_is_not() -> None:
    found = base(PodRecipe(IMAGE) + Resources(cpu=4, memory="16Gi", ephemeral="50Gi"))["resources"]
    assert found == {
        "requests": {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "50Gi"},
        "limits": {"memory": "16Gi", "ephemeral-storage": "50Gi"},
    }


@pytest.mark.parametrize("size", ["8 Gi", "8GiB", "", "-1", "lots", True])
def test_quantities_are_checked(size: Any) -> None:
    with pytest.raises(RecipeInvalid):
        Resources(memory=size)
    with pytest.raises(RecipeInvalid):
        SharedMemory(size)


@pytest.mark.parametrize("size", ["500m", "1.5", "1e3", "128Mi", "2G", ".5"])
def test_every_notation_of_quantities_is_taken(size: str) -> None:
    assert base(PodRecipe(IMAGE) + Resources(cpu=size))["resources"]["requests"]["cpu"] == size


def test_a_request_over_its_limit_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="requests more cpu than its limit: 4 over 2"):
        PodRecipe(IMAGE) + Resources(cpu=4, cpu_limit="2000m")


def test_resources_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(RecipeInvalid, match="asks for nothing"):
        Resources()


# --- fragments ---


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ({"spec": {"volumes": [{"name": "Bad", "emptyDir": {}}]}}, "volume name is 'Bad'"),
        ({"spec": {"volumes": [{"name": "v"}]}}, "volume v has no source"),
        ({"spec": {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "x"}}]}}, "sizeLimit of volume v"),
        (
            {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}},
            "claimName of volume v is None",
        ),
        ({"spec": {"containers": [{"name": "side", "image": ""}]}}, r"containers\[side\] has no image"),
        ({"spec": {"containers": [{"name": "base", "env": [{"name": "1A"}]}]}}, "variable of"),
        (
            {"spec": {"containers": [{"name": "base", "env": [{"name": "A", "value": 1}]}]}},
            "variable A of .* not a string",
        ),
        ({"spec": {"nodeSelector": {"spot": True}}}, "nodeSelector spot is True.*Write 'true'"),
        ({"spec": {"nodeSelector": "gpu"}}, "nodeSelector is 'gpu', not a map"),
        ({"metadata": {"labels": {"a": "b c"}}}, "label a is 'b c'"),
        ({"metadata": {"annotations": {"a": True}}}, "annotation a is True"),
        ({"spec": {"imagePullSecrets": [{"name": "A"}]}}, "imagePullSecrets name is 'A'"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_when_composed(fragment: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeInvalid, match=said):
        PodRecipe(IMAGE) + Fragment(fragment)


def test_a_named_fragment_is_called_by_its_name() -> None:
    recipe = PodRecipe(IMAGE) + Fragment({"spec": {"serviceAccountName": "trainer"}}, name="identity")
    assert recipe.explain()["spec.serviceAccountName"] == ["Fragment(identity)"]


def test_a_fragment_does_not_change_with_what_it_was_made_from() -> None:
    source: dict[str, Any] = {"spec": {"serviceAccountName": "trainer"}}
    fragment = Fragment(source)
    source["spec"]["serviceAccountName"] = "other"
    assert spec(PodRecipe(IMAGE) + fragment)["serviceAccountName"] == "trainer"
