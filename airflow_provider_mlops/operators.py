"""Operators: the documented import path."""

from typing import TYPE_CHECKING

from airflow_provider_mlops._lazy import lazy_names

if TYPE_CHECKING:
    from airflow_provider_mlops.bento.operators import BentoBuildOperator as BentoBuildOperator
    from airflow_provider_mlops.gitlab.operators.commit import GitlabCommitOperator as GitlabCommitOperator
    from airflow_provider_mlops.gitlab.operators.merge_request import (
        GitlabMergeRequestOperator as GitlabMergeRequestOperator,
    )
    from airflow_provider_mlops.gitlab.operators.trigger import GitlabTriggerOperator as GitlabTriggerOperator
    from airflow_provider_mlops.oci.operators import ImagePromoteOperator as ImagePromoteOperator
    from airflow_provider_mlops.oci.operators import ImageRollbackOperator as ImageRollbackOperator
    from airflow_provider_mlops.oci.operators import ImageTagOperator as ImageTagOperator
    from airflow_provider_mlops.release.operators import ReleaseOperator as ReleaseOperator
    from airflow_provider_mlops.release.operators import RollbackOperator as RollbackOperator
    from airflow_provider_mlops.vector.operators.index import VectorIndexOperator as VectorIndexOperator
    from airflow_provider_mlops.vector.operators.maintenance import (
        VectorIndexMaintenanceOperator as VectorIndexMaintenanceOperator,
    )
    from airflow_provider_mlops.vector.operators.shards import VectorShardOperator as VectorShardOperator
    from airflow_provider_mlops.vector.operators.shards import (
        VectorShardPlanOperator as VectorShardPlanOperator,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "BentoBuildOperator": "bento.operators",
        "GitlabCommitOperator": "gitlab.operators.commit",
        "GitlabMergeRequestOperator": "gitlab.operators.merge_request",
        "GitlabTriggerOperator": "gitlab.operators.trigger",
        "ImagePromoteOperator": "oci.operators",
        "ImageRollbackOperator": "oci.operators",
        "ImageTagOperator": "oci.operators",
        "ReleaseOperator": "release.operators",
        "RollbackOperator": "release.operators",
        "VectorIndexMaintenanceOperator": "vector.operators.maintenance",
        "VectorIndexOperator": "vector.operators.index",
        "VectorShardOperator": "vector.operators.shards",
        "VectorShardPlanOperator": "vector.operators.shards",
    },
)
