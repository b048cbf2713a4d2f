"""Training pods: recipes composed from features by a keyed merge."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.pods.features.checkpoint import Checkpoint as Checkpoint
    from airflow_provider_mlops.pods.features.feature import Feature as Feature
    from airflow_provider_mlops.pods.features.feature import Target as Target
    from airflow_provider_mlops.pods.features.fragment import Fragment as Fragment
    from airflow_provider_mlops.pods.features.gpu import GPU as GPU
    from airflow_provider_mlops.pods.features.resources import Resources as Resources
    from airflow_provider_mlops.pods.features.shared_memory import SharedMemory as SharedMemory
    from airflow_provider_mlops.pods.features.spot import Spot as Spot
    from airflow_provider_mlops.pods.merge import UNSET as UNSET
    from airflow_provider_mlops.pods.recipe import PodRecipe as PodRecipe

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Checkpoint": "pods.features.checkpoint",
        "Feature": "pods.features.feature",
        "Fragment": "pods.features.fragment",
        "GPU": "pods.features.gpu",
        "PodRecipe": "pods.recipe",
        "Resources": "pods.features.resources",
        "SharedMemory": "pods.features.shared_memory",
        "Spot": "pods.features.spot",
        "Target": "pods.features.feature",
        "UNSET": "pods.merge",
    },
)
