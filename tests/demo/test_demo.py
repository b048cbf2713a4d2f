"""``demo/run`` as a person starts it: two runs, what they left behind, and Ctrl-C in the middle.

It makes an environment of its own from the package index, so it also shows that the built wheel, installed alone,
runs the example pipeline.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_mlops.release.ledger import ReleaseLedger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not airflow_version.startswith("3.3."),
        reason="the demo installs an Airflow of its own; it is run once, beside the newest",
    ),
]

REPOSITORY = Path(__file__).parents[2]
#: What the demo is made from. It runs in a copy: nothing else of the repository is there for it to lean on, and an
#: editor that saves a file does not change it between two runs.
SOURCES = (
    "demo",
    "airflow_provider_mlops",
    "example_dags",
    "constraints",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
WITHIN = 840.0
STOPPED_WITHIN = 15.0
RELEASE_ID = r"\d{8}-\d{6}-[0-9a-f]{8}"


@dataclass(frozen=True)
class Demo:
    """A copy of the sources, and a folder for what the demo makes."""

    sources: Path
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        mine = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "DEMO_"))
        }
        return {**mine, "DEMO_ROOT": str(self.root), "PYTHON": sys.executable}

    @property
    def _shown(self) -> Path:
        return self.root.with_name("output.txt")

    def output(self) -> str:
        """What the run that began last has shown so far."""
        return self._shown.read_text()

    def run(self) -> str:
        """Run to the end; returns what a person sees."""
        with self.started() as process:
            process.wait(WITHIN)
        output = self.output()
        airflow_log = self.root / "logs" / "airflow.log"
        tail = airflow_log.read_text(errors="replace")[-4000:] if airflow_log.exists() else ""
        assert process.returncode == 0, f"{output}\n{tail}"
        return output

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run as a shell's foreground job would: a process group of its own."""
        with self._shown.open("w") as sink:
            process = subprocess.Popen(
                [str(self.sources / "demo" / "run")],
                env=self.environment,
                cwd=self.root.parent,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def events(self) -> list[dict[str, Any]]:
        """Task events of the run that began last."""
        file = self.root / "logs" / "events.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def processes(self) -> list[str]:
        """Living processes that know of this demo, by their arguments or their environment."""
        mark = os.fsencode(self.root)
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            except OSError:
                continue
            if mark in command or mark in environment:
                found.append(f"{folder.name} {command.replace(bytes(1), b' ').decode(errors='replace')}")
        return found

    @property
    def ledger(self) -> ReleaseLedger:
        return ReleaseLedger(self.root / "artifacts" / "releases", "docs-search", "production")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (source := REPOSITORY / name).is_dir():
            shutil.copytree(source, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, sources)
    yield Demo(sources, folder / "root")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first(demo: Demo) -> str:
    """Output of the first run."""
    return demo.run()


@pytest.fixture(scope="module")
def second(demo: Demo, first: str) -> str:
    """Output of the second run."""
    return demo.run()


def found(pattern: str, output: str) -> re.Match[str]:
    match = re.search(pattern, output, re.MULTILINE)
    assert match, f"no {pattern!r} in:\n{output}"
    return match


def check_summary(output: str) -> None:
    accuracy = found(r"^  model +accuracy (0\.\d+) on \d+ held-out texts \(features: [a-z+]+\)", output)
    assert 0.75 <= float(accuracy[1]) <= 0.95
    assert 4000 <= int(found(r"^  index +Docs \S+: (\d+) texts", output)[1]) <= 7000
    assert int(
        found(r"^  pipeline +http://127\.0\.0\.1:\d+/ml/docs-search/-/pipelines/(\d+): success", output)[1]
    )
    found(r"^  Bento +service:h-[0-9a-f]{16}, \d+\.\d MB", output)
    found(r"^  image +sha256:[0-9a-f]{12}\.\.\., tags \S+", output)
    found(r"predict -> asyncio; search -> asyncio\.", output)
    assert float(found(r"^It took (\d+) s\.$", output)[1]) > 0


def test_the_first_run_makes_a_release_that_answers(demo: Demo, first: str) -> None:
    check_summary(first)
    gate = found(
        r"^  gate +queries 300, k 5, recall (0\.\d+), mrr (0\.\d+), ndcg (0\.\d+), passed True$", first
    )
    assert float(gate[1]) >= 0.80
    assert "(features: words)" in first
    released = found(rf"^  release +({RELEASE_ID}) in channel production$", first)[1]
    assert found(rf"^  answers +release ({RELEASE_ID})", first)[1] == released
    assert released in demo.ledger.release_ids()
    found(r"^  demo/airflow dags test rollback$", first)
    found(r"^  demo/airflow standalone", first)


def test_the_second_run_reuses_what_is_the_same_and_rolls_back(demo: Demo, first: str, second: str) -> None:
    check_summary(second)
    one = found(rf"^  release +({RELEASE_ID}) in channel production", first)[1]
    two = found(rf"^  release +({RELEASE_ID}) in channel production, after {one}$", second)[1]
    assert one != two
    for reused in (
        r"^==> reusing the installed environment$",
        r"^\[1/7\] .*: reused \(",
        r"database reused",
        r"^      collect: reused \(",
        r"^      index: reused \(",
        r", 0 added, \d+ unchanged$",
    ):
        found(reused, second)
    assert "(features: words+chars)" in second
    assert found(r"^  Bento +(\S+),", first)[1] != found(r"^  Bento +(\S+),", second)[1]
    assert found(rf"^  answers +release ({RELEASE_ID})", second)[1] == two
    assert found(rf"^  rolled back +release ({RELEASE_ID})", second)[1] == one
    assert found(r"^  rolled back .*Bento (\S+) answers again$", second)[1] in first


def test_the_ledger_says_that_the_first_release_is_back(demo: Demo, first: str, second: str) -> None:
    one = found(rf"^  release +({RELEASE_ID})", first)[1]
    two = found(rf"^  release +({RELEASE_ID})", second)[1]
    current = demo.ledger.current()
    assert current is not None
    assert (current.action, current.restores) == ("rollback", one)
    assert demo.ledger.release_ids() == [current.release_id, two, one]
    assert current.parts["image"]["digest"] == demo.ledger.record(one).parts["image"]["digest"]


def test_the_package_is_the_installed_wheel(demo: Demo, first: str) -> None:
    code = (
        "import airflow_provider_mlops as package, importlib.metadata as metadata;"
        "print(package.__file__);"
        "print(metadata.distribution('airflow-provider-mlops').read_text('direct_url.json') or '{}')"
    )
    python = demo.root / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-P", "-c", code], env=demo.environment, cwd=demo.root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    module, origin = done.stdout.splitlines()
    assert Path(module).is_relative_to(demo.root / "venv" / "lib")
    assert not json.loads(origin).get("dir_info", {}).get("editable")


def test_any_oci_tool_reads_the_images(demo: Demo, first: str) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    tag = found(r"^  image +sha256:[0-9a-f]+\.\.\., tags (\d{8}-\d{6})", first)[1]
    shown = found(r"^  image +(sha256:[0-9a-f]{12})", first)[1]
    source = f"oci:{demo.root / 'images' / 'docs-search'}:{tag}"
    done = subprocess.run([skopeo, "inspect", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    inspected = json.loads(done.stdout)
    assert inspected["Digest"].startswith(shown)
    assert inspected["Layers"]


def test_no_process_is_left(demo: Demo, second: str) -> None:
    assert demo.processes() == []


def test_the_commands_it_ends_with_work(demo: Demo, second: str) -> None:
    two = found(rf"^  release +({RELEASE_ID})", second)[1]
    listing = found(r"^  (\S+ -m airflow_provider_mlops release list .+)$", second)[1]
    forward = found(r"^Roll forward to the new release:\n  (demo/airflow dags test rollback .+)$", second)[1]
    for command in (listing, forward):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=demo.sources,
            env=demo.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if command is listing:
            assert set(demo.ledger.release_ids()) <= set(re.findall(RELEASE_ID, done.stdout))
    current = demo.ledger.current()
    assert current is not None
    assert current.restores == two
    assert demo.processes() == []


def preparing(demo: Demo) -> bool:
    return "GitLab stand-in and Airflow's database ..." in demo.output()


def publishing(demo: Demo) -> bool:
    return any((event["task"], event["state"]) == ("publish", "running") for event in demo.events())


def serving(demo: Demo) -> bool:
    return "serve the release and ask it ..." in demo.output()


@pytest.mark.parametrize(
    ("moment", "to_the_group"),
    [(preparing, True), (preparing, False), (publishing, True), (publishing, False), (serving, True)],
    ids=lambda value: getattr(value, "__name__", "ctrl-c" if value else "sigterm"),
)
def test_stopped_in_the_middle_it_leaves_no_process(
    demo: Demo, second: str, moment: Callable[[Demo], bool], to_the_group: bool
) -> None:
    (demo.root / "logs" / "events.jsonl").unlink(missing_ok=True)
    with demo.started() as process:
        deadline = time.monotonic() + 120
        while not moment(demo):
            assert process.poll() is None, demo.output()
            assert time.monotonic() < deadline, demo.output()
            time.sleep(0.1)
        assert demo.processes() != []
        if to_the_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        status = process.wait(STOPPED_WITHIN)
    assert status == 130, demo.output()
    assert demo.processes() == []
    assert demo.output().endswith("go on where it stopped.\n")
    assert "Traceback" not in demo.output()


def test_it_goes_on_after_all_that(demo: Demo, second: str) -> None:
    live = demo.ledger.current()
    assert live is not None
    check_summary(output := demo.run())
    assert found(rf"^  rolled back +release ({RELEASE_ID})", output)[1] == (live.restores or live.release_id)
    assert demo.processes() == []
