from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from airflow_provider_mlops.bento.child_process import ChildProcess
from airflow_provider_mlops.bento.errors import BentoBuildInterrupted

linux = pytest.mark.skipif(sys.platform != "linux", reason="strays are found through /proc")


def run(code, child=None, timeout=20.0, **options):
    lines = []
    started = (child or ChildProcess(grace=1.0)).run(
        [sys.executable, "-c", code],
        environment={"PATH": os.environ["PATH"]},
        cwd="/",
        on_line=lines.append,
        timeout=timeout,
        **options,
    )
    return started, lines


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def pid_from(file):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if file.exists() and file.read_text():
            return int(file.read_text())
        time.sleep(0.02)
    raise AssertionError("the child did not start")


STRAY = """
import subprocess, sys, time
stray = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"],
                         start_new_session=True)
time.sleep(0.5)
open({file!r}, "w").write(str(stray.pid))
{then}
"""


def test_output_comes_line_by_line_and_the_result_on_its_own_pipe():
    code = "import os,sys; print('out'); print('err', file=sys.stderr); os.write(int(sys.argv[1]), b'{}'); print('last', end='')"
    ended, lines = run(code, result_fd_argument=True)
    assert sorted(lines) == ["err", "last", "out"]
    assert (ended.returncode, ended.result) == (0, b"{}")


def test_much_output_neither_blocks_nor_is_lost():
    ended, lines = run("for i in range(50000): print(i)")
    assert ended.returncode == 0
    assert lines == [str(i) for i in range(50000)]
    assert ended.tail[-1] == "49999"


def test_a_line_without_end_does_not_fill_the_memory():
    _, lines = run("import sys; sys.stdout.write('x' * 1000000)")
    assert sum(map(len, lines)) == 1000000
    assert max(map(len, lines)) < 200000


def test_a_redrawn_line_is_logged_as_its_last_drawing():
    assert run(r"print('10%\r20%\r30%')")[1] == ["30%"]


def test_output_that_is_not_text_is_no_error():
    assert run(r"import os; os.write(1, b'\xff\xfe\n')")[1] == ["��"]


def test_a_timeout_ends_the_child():
    before = time.monotonic()
    with pytest.raises(BentoBuildInterrupted, match=r"longer than 0\.5 s"):
        run("import time; time.sleep(60)", timeout=0.5)
    assert time.monotonic() - before < 5


def test_a_child_that_ignores_sigterm_is_killed():
    with pytest.raises(BentoBuildInterrupted):
        run("import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", timeout=1.0)


@linux
def test_a_kill_reaches_descendants_in_sessions_of_their_own(tmp_path):
    child, file, seen = ChildProcess(grace=0.5), tmp_path / "pid", []

    def follow():
        with pytest.raises(BentoBuildInterrupted) as caught:
            run(STRAY.format(file=str(file), then="time.sleep(60)"), child)
        seen.append(caught.value)

    thread = threading.Thread(target=follow)
    thread.start()
    stray = pid_from(file)
    child.kill()
    thread.join(timeout=10)
    assert seen
    assert not alive(stray)


@linux
def test_what_the_child_leaves_behind_does_not_outlive_it(tmp_path):
    file = tmp_path / "pid"
    ended, _ = run(STRAY.format(file=str(file), then=""))
    assert ended.returncode == 0
    assert not alive(pid_from(file))


@linux
def test_an_exception_raised_into_the_waiting_task_ends_the_child(tmp_path):
    # As Airflow does at execution_timeout.
    file = tmp_path / "pid"

    def alarm(*_):
        raise TimeoutError("execution_timeout")

    previous = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(TimeoutError, match="execution_timeout"):
            run(STRAY.format(file=str(file), then="time.sleep(60)"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert not alive(pid_from(file))


def test_a_kill_before_the_start_is_not_forgotten():
    child = ChildProcess()
    child.kill()
    with pytest.raises(BentoBuildInterrupted):
        run("print()", child)


def test_the_child_sees_only_the_environment_that_it_is_given(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "x")
    _, lines = run("import os; print(sorted(name for name in os.environ if name.startswith('AIRFLOW')))")
    assert lines == ["[]"]
