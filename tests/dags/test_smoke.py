"""The smoke pipeline really runs with ``airflow dags test``: Airflow's own loop, SQLite, and no other service than
the GitLab stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.release.ledger import ReleaseLedger
from airflow_provider_mlops.testing.gitlab import GitlabStandIn
from tests.dags.conftest import Airflow
from tests.unit.oci.store_contract import put_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
pytest.importorskip("lancedb")

PIPELINE = """
spec:
  inputs:
    image: {}
    airflow_key: {default: ""}
---
workflow:
  name: "$[[ inputs.airflow_key ]]"
publish:
  script:
    - printf '{"image":"%s"}' '$[[ inputs.image ]]' > image.json
  artifacts:
    paths: [image.json]
"""


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[GitlabStandIn]:
    with GitlabStandIn(tmp_path / "gitlab", project="ml/smoke") as server:
        server.project.add(".gitlab-ci.yml", PIPELINE)
        yield server


def test_it_runs_with_dags_test(home: Path, tmp_path: Path, gitlab: GitlabStandIn) -> None:
    images = LayoutRepository(tmp_path / "images" / "smoke")
    digest = put_image(images, "smoke")
    documents = tmp_path / "documents.jsonl"
    documents.write_text("".join(f'{{"id": "doc{n}", "text": "page {n}"}}\n' for n in range(20)))
    artifacts = tmp_path / "artifacts"
    airflow = Airflow(
        home,
        Path(__file__).with_name("airflow_2"),
        {
            "AIRFLOW_CONN_GITLAB_DEFAULT": json.dumps(
                {"conn_type": "gitlab", "host": gitlab.url, "password": gitlab.token}
            ),
            "AIRFLOW__MLOPS__ARTIFACTS": artifacts.as_uri(),
            "AIRFLOW__MLOPS__POLL_INTERVAL": "1",
            "LANCEDB_LOG": "error",
        },
    )
    airflow.python("-m", "airflow", "db", "migrate")
    conf = {"image": f"{images.repository}@{digest}", "documents": str(documents)}
    shown = airflow.python("-m", "airflow", "dags", "test", "smoke", "--conf", json.dumps(conf))

    assert sorted(pipeline.status for pipeline in gitlab.pipelines()) == ["success", "success"]
    assert images.digest_of("smoke") == digest
    ledger = ReleaseLedger(artifacts / "releases", "smoke", "production")
    release = ledger.current()
    assert release is not None
    assert release.parts["tagged"]["digest"] == release.parts["image"]["digest"] == digest
    assert release.parts["index"]["documents"] == 20
    assert images.digest_of("production") == digest
    assert (artifacts / "vector" / "Smoke.lance").is_dir()
    assert gitlab.token not in shown.stdout + shown.stderr
