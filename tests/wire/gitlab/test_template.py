"""The `.gitlab-ci.yml` for users runs as it stands: a real BentoML, and a docker that only notes what it is told."""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import gitlab as python_gitlab
import pytest

from airflow_provider_mlops.bento.build_request import BuildRequest
from airflow_provider_mlops.bento.builders import BentoBuilder, Isolation
from airflow_provider_mlops.bento.environment import ensure_environment
from airflow_provider_mlops.bento.index_access import index_access
from airflow_provider_mlops.bento.store import BentoStore
from airflow_provider_mlops.compat import AIRFLOW_3, AirflowFailException
from airflow_provider_mlops.gitlab.errors import PipelineEmpty
from airflow_provider_mlops.gitlab.job_key import Mark
from airflow_provider_mlops.operators import GitlabTriggerOperator
from airflow_provider_mlops.payloads import ImagePayload
from airflow_provider_mlops.testing.gitlab import GitlabStandIn
from tests.wire.gitlab.conftest import Task, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "example_dags" / "templates" / "bento_image.gitlab-ci.yml"
SNIPPET = ROOT / "docs" / "snippets" / "gitlab_bento_image.py"

REPOSITORY = "registry.example.com/ml/search"
PASSWORD = "registry-pass-0815"
DIGEST = "sha256:" + "ab" * 32

SERVICE = """
import bentoml


@bentoml.service
class Search:
    def __init__(self) -> None:
        {start}

    @bentoml.api
    def ask(self, text: str) -> str:
        return text
"""

# What BentoML and the template use of docker, with the answers that docker documents.
DOCKER = f"""\
#!{sys.executable} -I
import json, os, sys

words = sys.argv[1:]
call = {{"words": words}}
if words[0] == "version":
    print('"28.0.4"')
elif words == ["buildx", "--help"]:
    print("      --builder string   Override the configured builder instance")
elif words == ["buildx", "version"]:
    print("github.com/docker/buildx v0.22.0 18ccba0")
elif words[0] == "login":
    call["stdin"] = sys.stdin.read()
elif words[:2] == ["buildx", "build"]:
    context = words[-1]
    call["dockerfile"] = open(os.path.join(context, "env", "docker", "Dockerfile")).read()
    call["service"] = open(os.path.join(context, "src", "service.py")).read()
    told = {{"containerimage.digest": "{DIGEST}", "image.name": "{REPOSITORY}"}}
    json.dump(told, open(words[words.index("--metadata-file") + 1], "w"))
else:
    sys.exit("unknown command")
with open(os.path.join(os.path.dirname(__file__), "docker.jsonl"), "a") as log:
    log.write(json.dumps(call) + "\\n")
"""

# The job's packages are those of BentoML's environment.
PIP = "#!/bin/sh\n"


@pytest.fixture(scope="module")
def isolated():
    return ensure_environment(timeout=900)


@pytest.fixture
def bento(isolated, tmp_path):
    """Build a Bento whose service runs the given line when it starts."""

    def build(start="pass"):
        context = tmp_path / "service"
        context.mkdir()
        (context / "service.py").write_text(SERVICE.format(start=start))
        store = tmp_path / "bentos"
        builder = BentoBuilder(
            store=BentoStore(store, uri=store.as_uri()),
            isolation=Isolation(mode="external", python=str(isolated.python)),
            access=index_access(os.environ),
            timeout=250.0,
            on_line=print,
        )
        return builder.build(BuildRequest(context=str(context), models={}), {})

    return build


@pytest.fixture
def runner(isolated, tmp_path, monkeypatch):
    """A stand-in whose jobs find BentoML, and the fakes; ``runner.calls()`` is what docker was told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"docker": DOCKER, "pip": PIP}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    folders = [str(programs), str(Path(isolated.python).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def calls():
        log = programs / "docker.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    with GitlabStandIn() as gitlab:
        connect(monkeypatch, gitlab)
        project = gitlab.add_project("ml/search")
        project.add(".gitlab-ci.yml", TEMPLATE.read_text())
        project.set_variable("CI_REGISTRY", "registry.example.com")
        project.set_variable("CI_REGISTRY_IMAGE", REPOSITORY)
        project.set_variable("CI_REGISTRY_USER", "ci")
        project.set_variable("CI_REGISTRY_PASSWORD", PASSWORD, masked=True)
        project.set_variable("PORT", str(port))
        project.set_variable("READY_WITHIN", "60")
        yield SimpleNamespace(gitlab=gitlab, project=project, calls=calls)


def operator(**inputs):
    return GitlabTriggerOperator(
        task_id="publish",
        project="ml/search",
        inputs=inputs,
        key_input="airflow_key",
        outputs={"image": "publish:image.json"},
        poll_interval=0.3,
    )


def test_the_lint_accepts_it(runner):
    client = python_gitlab.Gitlab(runner.gitlab.url, private_token=runner.gitlab.token)
    text = TEMPLATE.read_text().replace('default: ""', 'default: "file:///bentos/search.tar"', 1)
    verdict = client.projects.get("ml/search").ci_lint.create({"content": text})
    assert (verdict.valid, verdict.errors) == (True, [])


def test_the_image_of_a_bento_is_pushed_and_its_digest_is_an_output(runner, bento, written):
    built = bento()
    payload = operator(bento=built["uri"], bento_digest=built["digest"]).execute(Task({}).context())

    assert payload["jobs"] == {"success": 2}
    image = payload["image"]
    assert image.keys() == ImagePayload.__annotations__.keys() | {"schema", "kind"}
    assert (image["image"], image["digest"]) == (f"{REPOSITORY}@{DIGEST}", DIGEST)
    assert (image["tags"], image["channel"]) == ([built["version"], "candidate"], "candidate")

    login, build = (
        call for call in runner.calls() if call["words"][0] == "login" or "build" in call["words"]
    )
    assert (login["words"][-1], login["stdin"]) == ("registry.example.com", PASSWORD)
    words = build["words"]
    assert "--push" in words
    assert "--load" not in words
    values = {
        (word, words[at + 1])
        for at, word in enumerate(words[:-1])
        if word in ("--tag", "--label", "--provenance")
    }
    assert values == {
        ("--tag", f"{REPOSITORY}:{built['version']}"),
        ("--tag", f"{REPOSITORY}:candidate"),
        ("--provenance", "false"),
        ("--label", f"org.opencontainers.image.title={built['name']}"),
        ("--label", f"org.opencontainers.image.version={built['version']}"),
        ("--label", f"org.opencontainers.image.source={runner.gitlab.url}/ml/search"),
        ("--label", f"org.opencontainers.image.revision={payload['sha']}"),
    }
    assert build["dockerfile"].count("FROM ") == 1
    assert "class Search" in build["service"]

    (pipeline,) = runner.project.pipelines.values()
    assert pipeline.name.startswith("Bento image ")
    assert Mark.search(pipeline.name) is not None
    assert f"ready: version {built['version']}" in written()
    assert PASSWORD not in written()


def test_a_bento_that_does_not_start_is_not_published(runner, bento, written):
    runner.project.set_variable("READY_WITHIN", "12")
    built = bento(start="raise RuntimeError('no such model')")
    with pytest.raises(AirflowFailException, match="serve and ask"):
        operator(bento=built["uri"]).execute(Task({}).context())
    assert runner.calls() == []
    assert "no such model" in written()


def test_another_archive_than_the_promised_one_is_not_published(runner, bento, written):
    built = bento()
    with pytest.raises(AirflowFailException, match="serve and ask"):
        operator(bento=built["uri"], bento_digest=DIGEST).execute(Task({}).context())
    assert runner.calls() == []
    assert f"is {built['digest']}, not {DIGEST}" in written()


def test_without_a_bento_there_is_no_pipeline(runner):
    with pytest.raises(AirflowFailException) as caught:
        operator().execute(Task({}).context())
    assert isinstance(caught.value, PipelineEmpty)
    assert not runner.project.pipelines


@pytest.mark.skipif(not AIRFLOW_3, reason="the snippet is written for Airflow 3")
def test_the_documented_dag_hands_on_what_the_template_takes():
    tasks = runpy.run_path(str(SNIPPET))["bento_image"]().task_dict
    publish = tasks["publish"]
    assert (publish.project, publish.outputs, publish.key_input) == (
        "ml/search",
        {"image": "publish:image.json"},
        "airflow_key",
    )
    declared = TEMPLATE.read_text().split("---")[0]
    assert all(f"    {name}:\n" in declared for name in (*publish.inputs, publish.key_input))
    assert tasks["tag"].upstream_task_ids == {"publish"}
