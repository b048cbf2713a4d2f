"""Training on spot GPUs, said once and used in two ways: as a pod of its own, and as the pod of a task.

It needs a Kubernetes cluster with a claim named ``checkpoints``. The first task works on every executor, the second
is a Python task of the KubernetesExecutor: its image has Airflow in it. Where several executors are configured,
give that task ``executor="KubernetesExecutor"``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import dag, task

from airflow_provider_mlops.pods import GPU, Checkpoint, PodRecipe, Resources, SharedMemory, Spot

SMALL_GPU = PodRecipe("registry.example.com/train:1") + GPU("L4") + Resources(cpu=4, memory="16Gi")
TRAINING = SMALL_GPU + Spot() + SharedMemory("8Gi") + Checkpoint(pvc="checkpoints")


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    # A spot node that is taken away costs a try; the next one goes on from the checkpoint.
    default_args={
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "execution_timeout": timedelta(hours=12),
    },
    tags=["mlops"],
)
def train_on_gpu():
    train = KubernetesPodOperator(
        task_id="train", namespace="ml", arguments=["train.py"], deferrable=True, **TRAINING.kpo_kwargs()
    )

    @task(executor_config={"pod_override": SMALL_GPU.pod_override()})
    def evaluate() -> str:
        import subprocess

        return subprocess.run(["nvidia-smi", "-L"], check=True, capture_output=True, text=True).stdout

    train >> evaluate()


train_on_gpu()
