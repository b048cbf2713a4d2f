"""An MLflow tracking server with registry, artifacts over HTTP, and basic authentication."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.servers.base import Server
from tests.servers.install import cache_folder, python_install

VERSION = "3.17.2"


class Mlflow(Server):
    """One account, :attr:`login` with :attr:`password`; data in SQLite and in files."""

    name = "mlflow"
    # It imports for half a minute where the CPUs are busy.
    start_timeout = 240.0

    login = "admin"
    password = "only-for-tests-9"

    @classmethod
    def version(cls) -> str:
        return VERSION

    @classmethod
    def _python(cls) -> Path:
        return cache_folder(cls.name, VERSION) / "bin" / "python"

    @classmethod
    def missing(cls) -> str | None:
        if cls._python().exists():
            return None
        return f"not built; run: python -m tests.servers build {cls.name}"

    @classmethod
    def build(cls) -> None:
        python_install(cache_folder(cls.name, VERSION), f"mlflow[auth]=={VERSION}")

    @property
    def ports(self) -> dict[str, int]:
        return {"http": self.first_port}

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.first_port}"

    def prepare(self) -> None:
        (self.folder / "auth.ini").write_text(
            "[mlflow]\n"
            "default_permission = READ\n"
            f"database_uri = sqlite:///{self.folder}/auth.db\n"
            f"admin_username = {self.login}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )

    def command(self) -> list[str]:
        return [
            str(self._python()), "-m", "mlflow", "server",
            "--host", self.host, "--port", str(self.first_port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination", str(self.folder / "artifacts"),
            "--app-name", "basic-auth",
        ]  # fmt: skip

    def settings(self) -> dict[str, str]:
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-tests",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    def ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/health", timeout=10) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    # --- what tests fill it with, over its own API ---

    def ask(self, method: str, path: str, body: bytes | Mapping[str, Any]) -> dict[str, Any]:
        """One request as the account; returns the decoded answer."""
        credentials = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(f"{self.url}/api/2.0/{path}", data, headers, method=method)
        with urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.loads(response.read() or b"{}")
            return answer

    def add_run(self, files: Mapping[str, bytes]) -> tuple[str, str]:
        """A run with artifacts, named by their paths; returns its id and the URI of its artifacts."""
        info = self.ask("POST", "mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
        root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for name, content in files.items():
            self.ask("PUT", f"mlflow-artifacts/artifacts/{root}/{name}", content)
        return info["run_id"], info["artifact_uri"]

    def add_model(self, name: str) -> None:
        """A registered model, unless it is there."""
        try:
            self.ask("POST", "mlflow/registered-models/create", {"name": name})
        except HTTPError as error:
            if "RESOURCE_ALREADY_EXISTS" not in error.read().decode():
                raise

    def add_version(self, name: str, run_id: str, source: str) -> str:
        """A version of a registered model, which is made where it is not there; returns its number."""
        self.add_model(name)
        body = {"name": name, "run_id": run_id, "source": source}
        return str(self.ask("POST", "mlflow/model-versions/create", body)["model_version"]["version"])

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.ask("POST", "mlflow/registered-models/alias", {"name": name, "alias": alias, "version": version})
