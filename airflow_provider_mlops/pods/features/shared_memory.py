"""/dev/shm of a useful size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.pods.checks import quantity
from airflow_provider_mlops.pods.features.feature import Feature, Target, base_container


@dataclass(frozen=True)
class SharedMemory(Feature):
    """``/dev/shm`` in memory: PyTorch data loaders and NCCL need more than the usual 64 MiB.

    :param size: a quantity, e.g. ``"8Gi"``. What is used counts against the container's memory limit.
    """

    size: str

    def __post_init__(self) -> None:
        quantity(self.size, "SharedMemory size")

    def fragment(self, target: Target) -> dict[str, Any]:
        """See :class:`Feature`."""
        return {
            "spec": {
                "volumes": [
                    {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": self.size}}
                ],
                "containers": [
                    base_container(volumeMounts=[{"name": "shared-memory", "mountPath": "/dev/shm"}])
                ],
            }
        }
