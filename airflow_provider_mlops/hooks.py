"""Hooks: the documented import path."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.gitlab.hook import GitlabHook as GitlabHook
    from airflow_provider_mlops.mlflow.hook import MlflowHook as MlflowHook
    from airflow_provider_mlops.oci.hook import OciRegistryHook as OciRegistryHook
    from airflow_provider_mlops.vector.hook import LanceHook as LanceHook
    from airflow_provider_mlops.vector.hook import VectorSearchHook as VectorSearchHook

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GitlabHook": "gitlab.hook",
        "MlflowHook": "mlflow.hook",
        "OciRegistryHook": "oci.hook",
        "LanceHook": "vector.hook",
        "VectorSearchHook": "vector.hook",
    },
)
