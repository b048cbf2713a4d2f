"""The keyed merge: nothing lost, nothing invented, and the order of features says nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_provider_mlops.pods.errors import RecipeConflict, RecipeInvalid
from airflow_provider_mlops.pods.merge import UNSET, Tree, explain, merge, put_together, take_apart


def combine(*fragments: dict[str, Any]) -> dict[str, Any]:
    return put_together(merge(*(take_apart(each, f"F{number}") for number, each in enumerate(fragments))))


#: The machine may be busy: no example is judged by its time.
quick = settings(max_examples=60, deadline=None)
names = st.sampled_from(["a", "b", "c"])
scalars = st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from(["", "x", "y"]))
variables = st.lists(
    st.fixed_dictionaries({"name": names, "value": st.sampled_from(["", "1", "2"])}), max_size=2
)
mounts = st.lists(
    st.fixed_dictionaries({"name": names, "mountPath": st.sampled_from(["/a", "/b"])}), max_size=2
)
containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["base", "sidecar"])},
        optional={
            "image": names,
            "env": variables,
            "volumeMounts": mounts,
            "args": st.lists(names, max_size=2),
            "securityContext": st.fixed_dictionaries(
                {
                    "privileged": st.booleans(),
                    "capabilities": st.fixed_dictionaries({"drop": st.lists(names)}),
                }
            ),
        },
    ),
    max_size=2,
)
tolerations = st.lists(
    st.fixed_dictionaries(
        {"key": names, "effect": st.sampled_from(["NoSchedule", "NoExecute"])},
        optional={"operator": st.sampled_from(["Exists", "Equal"]), "tolerationSeconds": st.integers(0, 1)},
    ),
    max_size=3,
)
terms = st.lists(
    st.fixed_dictionaries(
        {
            "matchExpressions": st.lists(
                st.fixed_dictionaries({"key": names, "operator": names}), min_size=1, max_size=2
            )
        }
    ),
    min_size=1,
    max_size=2,
)
fragments = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": st.dictionaries(names, names, max_size=2)}),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": containers,
                "tolerations": tolerations,
                "nodeSelector": st.one_of(st.dictionaries(names, names, max_size=2), st.just(UNSET)),
                "hostNetwork": st.one_of(st.booleans(), st.just(UNSET)),
                "priority": scalars,
                "affinity": st.fixed_dictionaries(
                    {
                        "nodeAffinity": st.fixed_dictionaries(
                            {
                                "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
                                    {"nodeSelectorTerms": terms}
                                )
                            }
                        )
                    }
                ),
            },
        ),
    },
)


def tree(fragment: dict[str, Any], source: str) -> Tree:
    try:
        return take_apart(fragment, source)
    except RecipeConflict:
        assume(False)
        raise


def outcome(*trees: Tree) -> Any:
    """The merged pod and who set what, or the fact that it is refused."""
    try:
        merged = merge(*trees)
    except RecipeConflict:
        return "conflict"
    return normal(put_together(merged)), {path: sorted(sources) for path, sources in explain(merged).items()}


def normal(value: Any) -> Any:
    """Without the order of lists, and with types: 1 is not True."""
    if isinstance(value, dict):
        return {name: normal(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return sorted((normal(inner) for inner in value), key=repr)
    return (type(value).__name__, value)


@quick
@given(fragments, fragments, fragments)
def test_merging_does_not_depend_on_grouping(one: Any, two: Any, three: Any) -> None:
    a, b, c = tree(one, "A"), tree(two, "B"), tree(three, "C")
    whole = outcome(a, b, c)
    for first, second, last in ((a, b, c), (b, c, a), (c, a, b)):
        try:
            part = merge(first, second)
        except RecipeConflict:
            # Only a removal by the third can settle what these two disagree on.
            assume(whole == "conflict")
            continue
        assert outcome(part, last) == whole


@quick
@given(st.permutations(range(3)), st.tuples(fragments, fragments, fragments))
def test_merging_does_not_depend_on_order(order: list[int], three: Any) -> None:
    trees = [tree(each, f"F{number}") for number, each in enumerate(three)]
    assert outcome(*trees) == outcome(*(trees[number] for number in order))


@quick
@given(fragments)
def test_merging_with_itself_or_nothing_changes_nothing(fragment: Any) -> None:
    alone = tree(fragment, "A")
    assert merge(alone, alone) == alone
    assert merge(alone, take_apart({}, "B"))[()].sources == (("A", "B") if () in alone else ("B",))
    assert put_together(merge(alone, take_apart({}, "B"))) == put_together(alone)


@quick
@given(fragments)
def test_a_merged_pod_is_a_fragment_that_gives_itself(fragment: Any) -> None:
    once = put_together(tree(fragment, "A"))
    assert normal(put_together(take_apart(once, "B"))) == normal(once)


def values(fragment: Any) -> list[Any]:
    if isinstance(fragment, dict):
        return [pair for name, inner in fragment.items() for pair in [("name", name), *values(inner)]]
    if isinstance(fragment, list):
        return [value for inner in fragment for value in values(inner)]
    return [(type(fragment).__name__, fragment)]


@quick
@given(fragments, fragments)
def test_everything_said_is_there_and_nothing_else(one: Any, two: Any) -> None:
    a, b = tree(one, "A"), tree(two, "B")
    said = set(values(one)) | set(values(two))
    assume(("_Unset", UNSET) not in said)
    try:
        merged = put_together(merge(a, b))
    except RecipeConflict:
        return
    assert set(values(merged)) == said


@quick
@given(fragments, fragments)
def test_fragments_are_not_changed(one: Any, two: Any) -> None:
    before = copy.deepcopy((one, two))
    outcome(tree(one, "A"), tree(two, "B"))
    assert (one, two) == before


def test_false_and_zero_are_values() -> None:
    pod = combine({"spec": {"hostNetwork": False}}, {"spec": {"priority": 0, "subdomain": ""}})
    assert pod == {"spec": {"hostNetwork": False, "priority": 0, "subdomain": ""}}


def test_false_against_true_is_a_conflict_that_names_both() -> None:
    template = take_apart({"spec": {"automountServiceAccountToken": True}}, "template")
    feature = take_apart({"spec": {"automountServiceAccountToken": False}}, "feature")
    with pytest.raises(
        RecipeConflict, match=r"automountServiceAccountToken is True by template and False by feature"
    ):
        merge(template, feature)


def test_one_is_not_true() -> None:
    with pytest.raises(RecipeConflict):
        combine({"spec": {"hostNetwork": True}}, {"spec": {"hostNetwork": 1}})


def test_none_says_nothing() -> None:
    assert combine({"spec": {"hostNetwork": None}}, {"spec": {"hostNetwork": True}}) == {
        "spec": {"hostNetwork": True}
    }


def test_what_the_provider_loses_is_kept() -> None:
    template = {
        "spec": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "containers": [
                {"name": "sidecar", "image": "s"},
                {"name": "base", "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}}},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }
    }
    override = {
        "spec": {
            "nodeSelector": {"zone": "a"},
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "containers": [{"name": "base", "resources": {"requests": {"memory": "1Gi"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }
    }
    assert combine(template, override) == {
        "spec": {
            "nodeSelector": {"pool": "gpu", "zone": "a"},
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists"},
                {"key": "spot", "operator": "Exists"},
            ],
            "containers": [
                {
                    "name": "base",
                    "resources": {
                        "limits": {"nvidia.com/gpu": "1"},
                        "requests": {"cpu": "1", "memory": "1Gi"},
                    },
                },
                {"name": "sidecar", "image": "s"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }
    }


def test_the_main_container_comes_first() -> None:
    pod = combine({"spec": {"containers": [{"name": "a"}]}}, {"spec": {"containers": [{"name": "base"}]}})
    assert [each["name"] for each in pod["spec"]["containers"]] == ["base", "a"]


def test_variables_and_init_containers_keep_their_order() -> None:
    env = [{"name": "Z", "value": "1"}, {"name": "A", "value": "$(Z)"}]
    pod = combine(
        {
            "spec": {
                "containers": [{"name": "base", "env": env}],
                "initContainers": [{"name": "z"}, {"name": "a"}],
            }
        }
    )
    assert pod["spec"]["containers"][0]["env"] == env
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["z", "a"]


def test_a_volume_has_one_source() -> None:
    one = {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}
    two = {"spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}
    with pytest.raises(
        RecipeConflict, match=r"volumes\[data\] has both emptyDir \(by F0\) and persistentVolumeClaim"
    ):
        combine(one, two)


def test_a_variable_has_a_value_or_a_source() -> None:
    def with_variable(variable: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "base", "env": [{"name": "TOKEN", **variable}]}]}}

    secret = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    with pytest.raises(RecipeConflict, match=r"env\[TOKEN\] has both"):
        combine(with_variable({"value": "plain"}), with_variable(secret))


def test_a_map_against_a_plain_value_is_a_conflict() -> None:
    for pair in (({"spec": "x"}, {"spec": {"a": 1}}), ({"spec": {"a": 1}}, {"spec": "x"})):
        with pytest.raises(RecipeConflict, match="spec is"):
            combine(*pair)


def test_node_requirements_of_two_features_must_both_hold() -> None:
    def required(*keys: str) -> dict[str, Any]:
        found = [{"matchExpressions": [{"key": key, "operator": "Exists"}]} for key in keys]
        need = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": found}}
        return {"spec": {"affinity": {"nodeAffinity": need}}}

    pod = combine(required("a", "b"), required("c"))
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    keys = {frozenset(each["key"] for each in term["matchExpressions"]) for term in terms}
    assert keys == {frozenset("ac"), frozenset("bc")}


@pytest.mark.parametrize("order", [1, -1])
def test_unset_takes_a_field_away_whoever_sets_it(order: int) -> None:
    trees = [
        take_apart({"spec": {"nodeSelector": {"pool": "gpu"}, "hostNetwork": True}}, "template"),
        take_apart({"spec": {"nodeSelector": {"zone": "a"}}}, "feature"),
        take_apart({"spec": {"nodeSelector": UNSET}}, "user"),
    ][::order]
    merged = merge(*trees)
    assert put_together(merged) == {"spec": {"hostNetwork": True}}
    assert explain(merged)["spec.nodeSelector (unset)"] == ["user"]


def test_unset_settles_a_conflict_that_lies_under_it() -> None:
    assert combine({"spec": {"a": {"b": 1}}}, {"spec": {"a": {"b": 2}}}, {"spec": {"a": UNSET}}) == {
        "spec": {}
    }


def test_an_item_of_a_list_is_taken_away_as_in_a_strategic_merge_patch() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    gone = {"spec": {"containers": [{"name": "base", "env": [{"name": "A", "$patch": "delete"}]}]}}
    pod = combine({"spec": {"containers": [{"name": "base", "env": env}]}}, gone)
    assert pod["spec"]["containers"][0]["env"] == env[1:]


def test_unset_survives_copies() -> None:
    assert copy.deepcopy({"a": UNSET})["a"] is UNSET
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, "an item of spec.volumes has no name"),
        ({"spec": {"volumes": {"name": "v"}}}, "spec.volumes is .* not a list"),
        ({"spec": {"volumes": ["v"]}}, "spec.volumes holds 'v', not a map"),
        ({"spec": {"volumes": [{"name": {"a": 1}}]}}, "key that is not a string"),
        ({"spec": {"x": object()}}, "spec.x is a object; fragments are plain YAML values"),
        ({"spec": {"x": [object()]}}, "spec.x: .*plain YAML values"),
        ({"spec": {1: 2}}, "spec has the key 1, not a string"),
    ],
)
def test_what_is_no_fragment_is_refused_with_its_place(fragment: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeInvalid, match=said):
        take_apart(fragment, "F")


def test_explain_names_every_feature_that_set_a_field() -> None:
    labels = {"metadata": {"labels": {"team": "ml"}}}
    merged = merge(take_apart(labels, "A"), take_apart(labels, "B"))
    assert explain(merged) == {"metadata.labels.team": ["A", "B"]}
