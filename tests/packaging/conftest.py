"""Fresh processes and a fresh environment: what an installation sees, not what this process has imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints" / f"airflow-{airflow_version}.txt"


@dataclass(frozen=True)
class Interpreter:
    """A Python of some environment, run outside the repository with an Airflow home of its own."""

    python: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, check: bool = True, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """Run ``python words...``; standard error is shown when it fails."""
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))
        }
        env |= {"AIRFLOW_HOME": str(self.home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **self.environment}
        done = subprocess.run(
            [str(self.python), *words],
            cwd=self.home,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """This environment's Python."""
    return Interpreter(Path(sys.executable), tmp_path_factory.mktemp("airflow-home"))


@pytest.fixture(scope="session")
def uv() -> str:
    """The uv of this environment, or any other."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("uv is not installed")
    return found


@pytest.fixture(scope="session")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this source tree."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True, timeout=110
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def clean_installation(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """An environment that holds the wheel, Airflow, what the wheel depends on, and no extra."""
    if not CONSTRAINTS.exists():
        pytest.skip(f"no constraints for Airflow {airflow_version}")
    folder = tmp_path_factory.mktemp("clean")
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True, timeout=60
    )
    install = [uv, "pip", "install", "--quiet", "--python", str(python), "--constraint", str(CONSTRAINTS)]
    subprocess.run([*install, str(wheel), f"apache-airflow=={airflow_version}"], check=True, timeout=600)
    home = folder / "home"
    home.mkdir()
    return Interpreter(python, home)
