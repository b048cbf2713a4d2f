"""A folder that outlives the pod, the same for every try of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_mlops.pods.checks import dns_subdomain
from airflow_provider_mlops.pods.errors import RecipeInvalid
from airflow_provider_mlops.pods.features.feature import Feature, Target, base_container

VARIABLE = "CKPT_DIR"
_RENDERED = (
    "{{ dag.dag_id }}/{{ run_id }}/{{ task.task_id }}{{ '/%d' % ti.map_index if ti.map_index >= 0 else '' }}"
)
_ANNOTATIONS = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True)
class Checkpoint(Feature):
    """Mounts a persistent volume claim and tells the program its folder there in ``CKPT_DIR``.

    The folder is named for DAG, run, task and map index, not for the try: a retry finds what the try before
    left. The program makes the folder, writes checkpoints when it likes and on SIGTERM, and starts from
    the newest one it finds.

    :param pvc: name of the claim, in the pod's namespace. Pods on other nodes need access mode ReadWriteMany.
    :param path: where it is mounted.
    """

    pvc: str
    path: str = "/checkpoints"

    def __post_init__(self) -> None:
        dns_subdomain(self.pvc, "Checkpoint pvc")
        if (
            not PurePosixPath(self.path).is_absolute()
            or ".." in self.path
            or ":" in self.path
            or self.path == "/"
        ):
            raise RecipeInvalid(
                f"Checkpoint path is {self.path!r}", next_step="Give an absolute path without '..' and ':'."
            )

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        root = self.path.rstrip("/")
        env = (
            [{"name": VARIABLE, "value": f"{root}/{_RENDERED}"}]
            if target.templated
            else _from_annotations(root)
        )
        return {
            "spec": {
                "volumes": [{"name": "checkpoints", "persistentVolumeClaim": {"claimName": self.pvc}}],
                "containers": [
                    base_container(env=env, volumeMounts=[{"name": "checkpoints", "mountPath": self.path}])
                ],
            }
        }


def _from_annotations(root: str) -> list[dict[str, Any]]:
    """The KubernetesExecutor names the task instance in annotations; an annotation that is not there is empty."""
    parts = [
        {
            "name": f"CKPT_{name.upper()}",
            "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{name}']"}},
        }
        for name in _ANNOTATIONS
    ]
    return [*parts, {"name": VARIABLE, "value": "/".join([root, *(f"$({part['name']})" for part in parts)])}]
