from airflow.sdk import dag, task


@task(executor="KubernetesExecutor")
def train() -> str:
    return "s3://models/classifier"


@task
def report(model: str) -> None:
    print(f"trained {model}")


@dag
def two_executors():
    report(train())


two_executors()
