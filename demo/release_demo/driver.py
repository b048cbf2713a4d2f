"""Runs the example release DAG end to end on embedded defaults, and shows what came of it.

First run: release 1, served and asked. Second run: only the training features change; release 2 is
served and asked, rolled back, and the first version answers again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from airflow_provider_mlops.errors import MlopsError
from airflow_provider_mlops.example_dags.docs_search.gitlab_project import serving
from release_demo import parts
from release_demo.processes import child
from release_demo.progress import Progress
from release_demo.settings import SERVICE, Settings
from release_demo.summary import summary

QUESTION = "Run a coroutine in the event loop and return its result."
FEATURES = ("words", "words+chars")
LOG_LINES = 15


class DemoFailed(Exception):
    """A step failed; the message is what a person needs to see."""


class Demo:
    """One run of the demo.

    :param settings: where things are.
    :param began: Unix time at which the command was started.
    """

    def __init__(self, settings: Settings, began: float) -> None:
        self._settings = settings
        self._began = began
        self._previous = parts.live_release(settings)
        steps = 7 if self._previous else 5
        self._progress = Progress(steps, began)

    def run(self) -> None:
        """All steps; everything started is stopped at the end, however it ends."""
        settings, progress = self._settings, self._progress
        for folder in (settings.logs, settings.airflow_home, settings.images, settings.artifacts):
            folder.mkdir(parents=True, exist_ok=True)
        settings.events.write_text("")

        progress.start("environment for the service (BentoML, scikit-learn, LanceDB)")
        runtime = parts.service_environment(progress.tick)
        progress.done("reused" if runtime.reused else "made")

        progress.start("GitLab stand-in and Airflow's database")
        with contextlib.ExitStack() as running:
            gitlab = running.enter_context(parts.gitlab(settings, runtime))
            parts.fill_project(settings, gitlab)
            parts.copy_dags(settings)
            variables = {**os.environ, **settings.airflow(gitlab), **settings.progress()}
            reused = parts.migrate(settings, variables)
            progress.done(f"{gitlab['url']}, database {'reused' if reused else 'made'}")
            airflow = running.enter_context(self._airflow(variables))

            features = self._other_features()
            results = self._dag(airflow, "release_pipeline", {"features": features})
            answers = [self._serve_and_ask(runtime, "serve the release and ask it")]
            if self._previous:
                self._dag(airflow, "rollback", {"service": SERVICE, "to": self._previous.release_id})
                answers.append(self._serve_and_ask(runtime, "serve what is released now and ask it"))
            progress.start("stop what was started")
            # It waits for the next command and has nothing to save; asked politely it would take seconds.
            airflow.kill()
        progress.done()
        print(
            summary(
                settings,
                results,
                answers,
                previous=self._previous.release_id if self._previous else None,
                seconds=time.time() - self._began,
            )
        )
        self._check(results["release"], answers)

    def _other_features(self) -> str:
        """Other training features than those of the release that is live, so that there is something to release."""
        return next(name for name in FEATURES if self._previous is None or name != self._previous.features)

    def _check(self, released: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        expected = [released["release_id"], *([self._previous.release_id] if self._previous else [])]
        said = [answer["about"]["release"] for answer in answers]
        if said != expected:
            raise DemoFailed(f"The services that answered were {said}, expected {expected}")

    @contextlib.contextmanager
    def _airflow(self, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-P", "-m", "release_demo.airflow_shell"]
        log = self._settings.logs / "airflow.log"
        log.write_text("")
        with child(command, environment=variables, log=log, pipe=True) as process:
            yield process

    def _dag(self, airflow: subprocess.Popen[str], dag_id: str, conf: dict[str, str]) -> dict[str, Any]:
        """Run a DAG as ``airflow dags test`` does, show its tasks as they go, and return their results."""
        progress = self._progress
        shown = ", ".join(f"{name}={value}" for name, value in conf.items())
        progress.start(f"airflow dags test {dag_id} ({shown})")
        assert airflow.stdin is not None
        assert airflow.stdout is not None
        offset = self._settings.events.stat().st_size
        words = ["dags", "test", dag_id, "--conf", json.dumps(conf)]
        airflow.stdin.write(json.dumps(words) + "\n")
        airflow.stdin.flush()
        watch = _TaskWatch(self._settings.events, offset, progress)
        while not (answered := select.select([airflow.stdout], [], [], 0.2)[0]) and airflow.poll() is None:
            watch.look()
        answer = airflow.stdout.readline().strip() if answered else ""
        watch.look()
        if answer != "0" or watch.failure:
            self._fail(f"{dag_id}: {watch.failure or 'the run failed'}")
        progress.done(f"{len(watch.results)} tasks succeeded")
        return watch.results

    def _serve_and_ask(self, runtime: parts.Runtime, label: str) -> dict[str, Any]:
        """Unpack the Bento out of the released image, serve it, and ask it all it can answer."""
        progress = self._progress
        progress.start(label)
        with parts.released_bento(self._settings) as (bento, variables):
            progress.tick("starting")
            log = self._settings.logs / "service.log"
            with serving.serve(
                bento, environment=variables, command=str(runtime.bentoml), log=log
            ) as service:
                answer = {
                    "version": service.version(),
                    "about": service.ask("about"),
                    "module": service.ask("predict", text=QUESTION),
                    "found": service.ask("search", query=QUESTION, limit=1),
                }
        progress.done(f"release {answer['about']['release']}: {QUESTION!r} belongs to {answer['module']!r}")
        return answer

    def _fail(self, message: str) -> NoReturn:
        log = self._settings.logs / "airflow.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise DemoFailed("\n".join([message, "", f"The last lines of {log}:", *lines]))


class _TaskWatch:
    """Follows the file of task events."""

    def __init__(self, events: Path, offset: int, progress: Progress) -> None:
        self._events = events
        self._offset = offset
        self._progress = progress
        self._running: dict[str, float] = {}
        self.results: dict[str, Any] = {}
        self.failure: str | None = None

    def look(self) -> None:
        with self._events.open("rb") as source:
            source.seek(self._offset)
            while (line := source.readline()).endswith(b"\n"):
                self._offset = source.tell()
                self._event(json.loads(line))
        now = time.time()
        self._progress.tick(", ".join(f"{task} {now - since:.0f} s" for task, since in self._running.items()))

    def _event(self, event: dict[str, Any]) -> None:
        task = event["task"]
        if event["state"] == "running":
            self._running.setdefault(task, event["time"])
            return
        took = event["time"] - self._running.pop(task, event["time"])
        if event["state"] == "failed":
            self.failure = f"task {task!r} failed: {event['error']}"
            self._progress.say(f"      {task}: failed after {took:.1f} s: {event['error']}")
            return
        self.failure = None
        self.results[task] = event["result"]
        self._progress.say(
            f"      {task}: {'reused' if _is_reused(event['result']) else 'done'} ({took:.1f} s)"
        )


def _is_reused(result: Any) -> bool:
    return isinstance(result, dict) and (bool(result.get("reused")) or result.get("action") == "unchanged")


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--started", type=float, default=time.time())
    args = parser.parse_args()
    # A script started in the background inherits SIGINT ignored; TERM and HUP must clean up as well.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        Demo(Settings(args.root.resolve()), args.started).run()
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running. Run `make demo` to go on where it stopped.")
        return 130
    except (DemoFailed, MlopsError, RuntimeError) as error:
        print(f"\nThe demo failed.\n{error}", file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: object) -> None:
    # Once is enough: a second signal must not interrupt the cleaning up.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
