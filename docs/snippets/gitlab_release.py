from datetime import datetime

from airflow.sdk import dag

from airflow_provider_mlops.notifiers import GitlabCommitStatusNotifier, GitlabMergeRequestCommentNotifier
from airflow_provider_mlops.operators import GitlabCommitOperator, GitlabMergeRequestOperator


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"image": "registry.example.com/search@sha256:0000", "sha": "main", "merge_request": 1},
    default_args={
        "retries": 2,
        **GitlabCommitStatusNotifier.callbacks(project="ml/search", sha="{{ params.sha }}"),
    },
)
def release_values():
    commit = GitlabCommitOperator(
        task_id="commit",
        project="ml/deploy",
        branch="release/search",
        start_branch="main",
        message="Release search\n\nImage: {{ params.image }}",
        actions=[
            {
                "action": "write",
                "file_path": "services/search/image.yaml",
                # Two line breaks: Jinja takes one away from the end of every text.
                "content": "image: {{ params.image }}\n\n",
            },
            {"action": "delete", "file_path": "services/search/image.yaml.old"},
        ],
    )
    GitlabMergeRequestOperator(
        task_id="merge",
        source_branch=commit.output,
        title="Release search",
        labels=["release"],
        merge="when_checks_pass",
        remove_source_branch=True,
        deferrable=True,
        on_failure_callback=GitlabMergeRequestCommentNotifier(
            project="ml/search",
            merge_request="{{ params.merge_request }}",
            body="The release **failed**: [log]({{ ti.log_url }})",
        ),
    )


release_values()
