"""The variables of pipelines and jobs: predefined ones and who wins over whom."""

from __future__ import annotations

from airflow_provider_mlops.testing.gitlab.ci_variables import expand_all, slug
from airflow_provider_mlops.testing.gitlab.model import Job, Project, User


def of_creation(
    project: Project, *, server_url: str, ref: str, sha: str, tag: bool, source: str, user: User
) -> dict[str, str]:
    """Predefined variables that are known before the pipeline exists; ``rules`` may look at them."""
    commit = project.repository.commit_of(sha)
    namespace, _, name = project.path.rpartition("/")
    title, _, description = commit.message.partition("\n")
    host = server_url.split("://", 1)[1]
    variables = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER": "yes",
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_URL": server_url,
        "CI_SERVER_HOST": host.split(":")[0],
        "CI_SERVER_PORT": host.partition(":")[2],
        "CI_SERVER_PROTOCOL": server_url.split("://", 1)[0],
        "CI_API_V4_URL": f"{server_url}/api/v4",
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": name,
        "CI_PROJECT_TITLE": name,
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_PATH_SLUG": slug(project.path),
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_ROOT_NAMESPACE": project.path.split("/")[0],
        "CI_PROJECT_URL": f"{server_url}/{project.path}",
        "CI_PROJECT_VISIBILITY": "private",
        "CI_COMMIT_SHA": sha,
        "CI_COMMIT_SHORT_SHA": sha[:8],
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "CI_COMMIT_REF_NAME": ref,
        "CI_COMMIT_REF_SLUG": slug(ref),
        "CI_COMMIT_REF_PROTECTED": "true" if ref == project.default_branch else "false",
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_TITLE": title,
        "CI_COMMIT_DESCRIPTION": description.strip(),
        "CI_COMMIT_AUTHOR": f"{commit.author_name} <{commit.author_email}>",
        "CI_COMMIT_TIMESTAMP": commit.committed_date,
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_PIPELINE_SOURCE": source,
        "GITLAB_USER_ID": str(user.id),
        "GITLAB_USER_LOGIN": user.username,
        "GITLAB_USER_NAME": user.name,
    }
    variables["CI_COMMIT_TAG" if tag else "CI_COMMIT_BRANCH"] = ref
    if source in ("trigger", "pipeline"):
        variables["CI_PIPELINE_TRIGGERED"] = "true"
    return variables


def of_job(job: Job, dotenv: dict[str, str], project_dir: str) -> dict[str, str]:
    """A job's whole CI environment.

    Weakest first: predefined, top-level and ``workflow``, the job's own, dotenv reports of earlier jobs,
    the project's, the pipeline's, and those given when a manual job is played.
    """
    pipeline = job.pipeline
    project = pipeline.project
    server_url = pipeline.predefined["CI_SERVER_URL"]
    predefined = {
        **pipeline.predefined,
        "CI_PIPELINE_ID": str(pipeline.id),
        "CI_PIPELINE_IID": str(pipeline.iid),
        "CI_PIPELINE_URL": f"{server_url}/{project.path}/-/pipelines/{pipeline.id}",
        "CI_PIPELINE_CREATED_AT": pipeline.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "CI_PIPELINE_NAME": pipeline.name or "",
        "CI_JOB_ID": str(job.id),
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": slug(job.name),
        "CI_JOB_STAGE": job.spec.stage,
        "CI_JOB_URL": f"{server_url}/{project.path}/-/jobs/{job.id}",
        "CI_JOB_TOKEN": job.token,
        "CI_JOB_STATUS": "running",
        "CI_NODE_TOTAL": "1",
        "CI_PROJECT_DIR": project_dir,
        "CI_BUILDS_DIR": project_dir.removesuffix("/" + project.path),
        "CI_RUNNER_DESCRIPTION": "stand-in",
        "CI_RUNNER_ID": "1",
        "CI_RUNNER_TAGS": "[]",
        "CI_RUNNER_VERSION": "18.9.0",
        "CI_REPOSITORY_URL": str(project.repository.folder),
    }
    if job.spec.when == "manual":
        predefined["CI_JOB_MANUAL"] = "true"
    return expand_all(
        {
            **predefined,
            **pipeline.plan.variables,
            **job.spec.variables,
            **dotenv,
            **{variable.key: variable.value for variable in project.variables.values()},
            **{variable.key: variable.value for variable in pipeline.variables},
            **job.variables,
        }
    )
