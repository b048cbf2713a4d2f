"""Runs jobs for real: a checkout per job, bash, artifacts, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import select
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from airflow_provider_mlops.testing.gitlab import artifacts, processes, reaper
from airflow_provider_mlops.testing.gitlab.artifacts import StoredArtifact
from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.executors import JobRun, Outcome

INITIAL_CONFIG = """\
hello:
  script:
    - echo "Hello from pipeline $CI_PIPELINE_ID at $CI_COMMIT_SHORT_SHA"
"""
DEFAULT_TIMEOUT = 3600.0
_LOOK_EVERY = 0.02
_QUIET = 1.0
# What a job inherits from the server: enough to find programs and package indexes, nothing of Airflow's.
_INHERITED = frozenset(
    [
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "SHELL",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "NODE_EXTRA_CA_CERTS",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
    ]
)
_INHERITED_PREFIXES = ("LC_", "PIP_", "UV_", "NPM_CONFIG_")

How = Literal["exited", "timeout", "cancelled"]


@dataclass(frozen=True)
class Ended:
    """How a script ended, and its exit code (128 + n when a signal ended it)."""

    how: How
    code: int


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the server's environment that jobs may see."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in _INHERITED or name.upper().startswith(_INHERITED_PREFIXES)
    }


def _script(lines: tuple[str, ...]) -> str:
    """A script that shows each command before running it, as the runner's does."""
    parts = ["set -eo pipefail", "set +o noclobber"]
    for line in lines:
        command = line.rstrip("\n")
        shown = (
            command if "\n" not in command else command.split("\n", 1)[0] + " # collapsed multi-line command"
        )
        quoted = shlex.quote(f"\x1b[32;1m$ {shown}\x1b[0;m")
        parts += [f"printf '%s\\n' {quoted}", command]
    return "\n".join(parts) + "\n"


@contextlib.contextmanager
def _section(run: JobRun, name: str, header: str) -> Iterator[None]:
    start = int(time.time())
    run.trace.write(f"\x1b[0Ksection_start:{start}:{name}\r\x1b[0K\x1b[36;1m{header}\x1b[0;m\x1b[0;m\n")
    try:
        yield
    finally:
        run.trace.write(f"\x1b[0Ksection_end:{int(time.time())}:{name}\r\x1b[0K\n")


class BashExecutor:
    """Each job in bash, in its own checkout, process group and session.

    Whatever a job leaves running is ended with it, also what changed its session; a helper process ends the
    rest when the server itself is killed.
    """

    def __init__(self) -> None:
        self.marker = f"GITLAB_STAND_IN={secrets.token_hex(8)}"
        self._reaper: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def initial_files(self) -> Mapping[str, str]:
        return {".gitlab-ci.yml": INITIAL_CONFIG}

    def close(self) -> None:
        """End every process of every job."""
        processes.end(self.marker)
        with self._lock:
            if self._reaper is not None and self._reaper.stdin is not None:
                self._reaper.stdin.close()
                self._reaper.wait()
                self._reaper = None

    def run(self, run: JobRun) -> Outcome:
        with self._lock:
            if self._reaper is None:
                self._reaper = reaper.start(self.marker)
        scratch = run.workdir.with_name(run.workdir.name + ".tmp")
        try:
            return self._run(run, scratch)
        finally:
            run.trace.flush()

    def _run(self, run: JobRun, scratch: Path) -> Outcome:
        trace = run.trace
        trace.write("Running with gitlab-runner 18.9.0 (stand-in)\n  on stand-in local\n")
        with _section(run, "prepare_executor", 'Preparing the "shell" executor'):
            trace.write("Using Shell (bash) executor...\n")
        with _section(run, "prepare_script", "Preparing environment"):
            trace.write(f"Running on {platform.node()}...\n")
        with _section(run, "get_sources", "Getting source from Git repository"):
            self._checkout(run, scratch)
        if run.inbound:
            with _section(run, "download_artifacts", "Downloading artifacts"):
                for content in run.inbound:
                    artifacts.unpack(content, run.workdir)
        environment = self._environment(run, scratch)
        with _section(run, "step_script", 'Executing "step_script" stage of the job script'):
            timeout = run.spec.timeout or DEFAULT_TIMEOUT
            ended = self._bash(run, run.spec.script, environment, scratch, timeout, run.cancelled)
        status = {"cancelled": "canceled"}.get(
            ended.how, "failed" if ended.code or ended.how == "timeout" else "success"
        )
        if run.spec.after_script and not run.forced.is_set():
            with _section(run, "after_script", "Running after_script"):
                limit = run.knobs.after_script_timeout
                after = {**environment, "CI_JOB_STATUS": status}
                done = self._bash(run, run.spec.after_script, after, scratch, limit, run.forced)
                if done.code:
                    trace.write("WARNING: after_script failed, but job will continue unaffected\n", "E")
        return self._outcome(run, ended, status)

    def _outcome(self, run: JobRun, ended: Ended, status: str) -> Outcome:
        trace = run.trace
        if status == "canceled":
            trace.write("\x1b[31;1mERROR: Job failed: canceled\n\x1b[0;m\n")
            return Outcome("failed", exit_code=ended.code)
        outcome = Outcome(status)
        problem = self._upload(run, status, outcome)
        if ended.how == "timeout":
            outcome.failure_reason = "job_execution_timeout"
            limit = run.spec.timeout or DEFAULT_TIMEOUT
            trace.write(
                f"\x1b[31;1mERROR: Job failed: execution took longer than {limit:g}s seconds\n\x1b[0;m\n"
            )
        elif ended.code:
            outcome.failure_reason, outcome.exit_code = "script_failure", ended.code
            trace.write(f"\x1b[31;1mERROR: Job failed: exit status {ended.code}\n\x1b[0;m\n")
        elif problem:
            outcome.status, outcome.failure_reason, outcome.exit_code = "failed", "script_failure", 1
            trace.write(f"\x1b[31;1mERROR: Job failed: {problem}\n\x1b[0;m\n")
        else:
            outcome.exit_code = 0
            trace.write("\x1b[32;1mJob succeeded\x1b[0;m\n")
        return outcome

    def _checkout(self, run: JobRun, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        source = run.repository.folder
        run.repository.git("clone", "-q", "--no-checkout", "--shared", str(source), str(run.workdir))
        run.repository.git("-C", str(run.workdir), "checkout", "-q", "--detach", run.sha)
        run.trace.write(f"Checking out {run.sha[:8]} as detached HEAD...\n")

    def _environment(self, run: JobRun, scratch: Path) -> dict[str, str]:
        variables = dict(run.variables)
        for name in run.file_variables & variables.keys():
            file = scratch / name
            file.write_text(variables[name])
            variables[name] = str(file)
        name, _, value = self.marker.partition("=")
        return {
            **inherited_environment(os.environ),
            **variables,
            name: value,
            "GITLAB_STAND_IN_JOB": f"{value}.{run.job_id}",
        }

    def _bash(
        self,
        run: JobRun,
        lines: tuple[str, ...],
        environment: Mapping[str, str],
        scratch: Path,
        timeout: float,
        stop: threading.Event,
    ) -> Ended:
        script = scratch / "script.sh"
        script.write_text(_script(lines))
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", str(script)],
            cwd=run.workdir,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        readers = [
            threading.Thread(target=_copy, args=(pipe, run, stream), daemon=True)
            for pipe, stream in ((process.stdout, "O"), (process.stderr, "E"))
        ]
        for reader in readers:
            reader.start()
        how = _wait(process.pid, timeout, stop)
        grace = run.knobs.grace if how != "exited" and not run.forced.is_set() else 0.0
        job_marker = f"GITLAB_STAND_IN_JOB={environment['GITLAB_STAND_IN_JOB']}"
        # The leader is not reaped yet, so its group id cannot belong to somebody else.
        processes.end(job_marker, group=process.pid, grace=grace)
        code = process.wait()
        for reader in readers:
            reader.join()
        return Ended(how, code if code >= 0 else 128 - code)

    def _upload(self, run: JobRun, status: str, outcome: Outcome) -> str | None:
        """Collect artifacts into the outcome; gives what is wrong with them."""
        spec = run.spec.artifacts
        if spec is None:
            return None
        trace = run.trace
        if spec.when != "always" and (spec.when == "on_failure") is (status == "success"):
            kept = {}
        else:
            kept = artifacts.collect(run.workdir, _expanded(run, spec.paths), _expanded(run, spec.exclude))
        problem = None
        with _section(
            run,
            f"upload_artifacts_on_{'success' if status == 'success' else 'failure'}",
            "Uploading artifacts",
        ):
            if kept:
                content = artifacts.archive(kept)
                outcome.artifacts.append(
                    StoredArtifact("archive", f"{expand(spec.name, run.variables)}.zip", content)
                )
                trace.write(f"Found {len(kept)} matching artifact files and directories\n")
            elif spec.paths:
                trace.write(f"WARNING: {', '.join(spec.paths)}: no matching files.\n", "E")
            # Reports are uploaded whatever the result.
            for kind, patterns in spec.reports.items():
                files = [
                    path.read_bytes()
                    for path in artifacts.collect(run.workdir, _expanded(run, patterns)).values()
                ]
                if not files:
                    continue
                outcome.artifacts.append(StoredArtifact(kind, f"{kind}.gz", b"\n".join(files)))
                if kind == "junit":
                    outcome.tests = artifacts.parse_junit(files)
                elif kind == "dotenv":
                    try:
                        outcome.dotenv = artifacts.parse_dotenv(b"\n".join(files).decode(errors="replace"))
                    except artifacts.ReportError as error:
                        problem = (
                            f'Uploading artifacts as "dotenv" to coordinator... 400 Bad Request: {error}'
                        )
        return problem


def _expanded(run: JobRun, patterns: tuple[str, ...]) -> list[str]:
    return [expand(pattern, run.variables) for pattern in patterns]


def _copy(pipe: IO[bytes], run: JobRun, stream: str) -> None:
    poll = select.poll()
    with pipe:
        poll.register(pipe, select.POLLIN)
        while True:
            if not poll.poll(_QUIET * 1000):
                # An unfinished line, such as a progress bar, is shown too once it stands still.
                run.trace.flush(stream)
            elif data := os.read(pipe.fileno(), 65536):
                run.trace.write(data, stream)
            else:
                return


def _wait(pid: int, timeout: float, stop: threading.Event) -> How:
    """Wait for a child without reaping it."""
    deadline = time.monotonic() + timeout
    while True:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return "exited"
        if stop.wait(_LOOK_EVERY):
            return "cancelled"
        if time.monotonic() > deadline:
            return "timeout"
