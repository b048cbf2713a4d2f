"""A training pod, composed from features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.pods.catalogue import Platform, check_platform
from airflow_provider_mlops.pods.checks import check
from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.features.feature import Feature, Target, base_container
from airflow_provider_mlops.pods.merge import Tree, explain, merge, put_together, take_apart

if TYPE_CHECKING:
    from airflow_provider_mlops.pods.render.models import V1Pod


@dataclass(frozen=True)
class PodRecipe:
    """An image and what its pod needs: ``PodRecipe("registry/train:1") + GPU("L4") + Spot()``.

    Features may come in any order; adding one twice changes nothing. What contradicts is refused when it is
    added, naming both features. Immutable, so one recipe can be the base of many.

    :param image: image of the main container, which is called ``base``.
    :param platform: kind of cluster, for the names of accelerators and spot nodes: ``gfd`` (any cluster with NVIDIA's
        feature discovery), ``karpenter``, ``eks``, ``gke`` or ``aks``.
    :param startup_timeout: how long node, image and container may take to come up. New GPU nodes with large
        images take minutes.
    :param features: same as adding them one by one.
    :raises RecipeInvalid: no pod can come of it.
    :raises RecipeConflict: two features contradict each other.
    """

    image: str
    platform: Platform = "gfd"
    startup_timeout: timedelta = timedelta(minutes=20)
    features: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        if not self.image or self.image != self.image.strip():
            raise RecipeInvalid(f"image of the recipe is {self.image!r}", next_step="Name the image to run.")
        check_platform(self.platform)
        if self.startup_timeout <= timedelta(0):
            raise RecipeInvalid(
                f"startup_timeout is {self.startup_timeout}", next_step="Give a positive time."
            )
        unique: list[Feature] = []
        for feature in self.features:
            if not isinstance(feature, Feature):
                raise RecipeInvalid(
                    f"{feature!r} is not a feature",
                    next_step="Wrap plain Kubernetes YAML in Fragment({...}).",
                )
            if feature not in unique:
                unique.append(feature)
        object.__setattr__(self, "features", tuple(unique))
        self.pod(templated=True)

    def __add__(self, feature: Feature) -> PodRecipe:
        if not isinstance(feature, Feature):
            return NotImplemented
        return replace(self, features=(*self.features, feature))

    def without(self, kind: type[Feature]) -> PodRecipe:
        """The recipe without its features of one kind, e.g. to give it others: ``r.without(GPU) + GPU("H100")``."""
        return replace(self, features=tuple(each for each in self.features if not isinstance(each, kind)))

    def _tree(self, target: Target) -> Tree:
        own = {"spec": {"containers": [base_container(image=self.image)]}}
        return merge(take_apart(own, "PodRecipe"), *self._trees(target))

    def _trees(self, target: Target) -> Iterator[Tree]:
        for feature in self.features:
            yield take_apart(feature.fragment(target), str(feature))

    def pod(self, *, templated: bool = False, last_try: bool | None = None) -> dict[str, Any]:
        """The pod as a plain dict, as in Kubernetes YAML.

        :param templated: whether Airflow will render Jinja in it.
        :param last_try: whether no retry is left; None where that is not known.
        """
        pod = put_together(self._tree(Target(self.platform, templated, last_try)))
        check(pod)
        return pod

    def explain(self, *, templated: bool = False) -> dict[str, list[str]]:
        """Who set each field, JSON-able: ``{"spec.containers[base].image": ["PodRecipe"], ...}``."""
        return explain(self._tree(Target(self.platform, templated)))

    def kpo_kwargs(self) -> dict[str, Any]:
        """Arguments for a KubernetesPodOperator: ``KubernetesPodOperator(task_id=..., **recipe.kpo_kwargs())``.

        Jinja works in image, variables, resources, node selector, labels, annotations, command and arguments.

        :raises RecipeInvalid: the pod has a field that Kubernetes does not know, or Jinja where that
            operator renders none.
        """
        from airflow_provider_mlops.pods.render.operator_arguments import operator_arguments

        return operator_arguments(self.pod(templated=True), self.startup_timeout)

    def pod_override(self) -> V1Pod:
        """For a task on the KubernetesExecutor: ``executor_config={"pod_override": recipe.pod_override()}``.

        :raises RecipeInvalid: the pod has a field that Kubernetes does not know, or Jinja anywhere:
            ``executor_config`` is not rendered.
        """
        from airflow_provider_mlops.pods.render.executor_pod import executor_pod

        return executor_pod(self.pod())

    def pod_template_yaml(self) -> str:
        """A ``pod_template_file`` for the KubernetesExecutor. Raises as :meth:`pod_override`."""
        from airflow_provider_mlops.pods.render.executor_pod import executor_pod_yaml

        return executor_pod_yaml(self.pod())
