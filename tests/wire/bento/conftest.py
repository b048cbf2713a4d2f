"""Real builds with a real BentoML in a real isolated environment.

The environment is made once and kept in this user's cache, so that a rerun takes seconds.
"""

from __future__ import annotations

import os

import pytest

from airflow_provider_mlops.bento.build_request import BuildRequest
from airflow_provider_mlops.bento.builders import BentoBuilder, Isolation
from airflow_provider_mlops.bento.environment import ensure_environment
from airflow_provider_mlops.bento.index_access import index_access
from airflow_provider_mlops.bento.store import BentoStore

SERVICE = """
import json
from pathlib import Path

import bentoml


@bentoml.service
class Classifier:
    model = bentoml.models.BentoModel("classifier:latest")

    def __init__(self) -> None:
        self.factor = json.loads(Path(self.model.path_of("weights.json")).read_text())["factor"]

    @bentoml.api
    def score(self, x: float) -> float:
        return x * self.factor
"""


@pytest.fixture(scope="session")
def isolated():
    """The isolated environment."""
    return ensure_environment(timeout=900)


@pytest.fixture
def ready_made(isolated):
    """The same environment as somebody else's: it is used whatever index a build is given."""
    return Isolation(mode="external", python=str(isolated.python))


@pytest.fixture
def context(tmp_path):
    """A folder with a service that uses a model; write into it what the test needs."""
    folder = tmp_path / "scorer"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    return folder


@pytest.fixture
def weights(tmp_path):
    """A model that is one file."""
    file = tmp_path / "weights.json"
    file.write_text('{"factor": 2.5}')
    return file


@pytest.fixture
def build(isolated, tmp_path, weights):
    """Build a context folder as an attempt of a task does; ``build.lines`` is the log."""

    def run(
        folder,
        *,
        store="store",
        models=None,
        access=None,
        timeout=300.0,
        builder=None,
        isolation=None,
        **fields,
    ):
        models = {"classifier": weights} if models is None else models
        request = BuildRequest(
            context=str(folder), models={name: str(place) for name, place in models.items()}, **fields
        )
        attempt = builder or make(store, access=access, timeout=timeout, isolation=isolation)
        return attempt.build(request, models)

    def make(store="store", *, access=None, timeout=300.0, isolation=None):
        return BentoBuilder(
            store=BentoStore(tmp_path / store, uri=str(tmp_path / store)),
            isolation=isolation or Isolation(),
            access=access or index_access(os.environ),
            timeout=timeout,
            on_line=run.lines.append,
        )

    run.lines = []
    run.make = make
    return run
