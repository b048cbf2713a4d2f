from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import anyio
import pytest

from airflow_provider_mlops.external_job.portal import Portal


def test_a_coroutine_can_have_the_main_thread_call_something():
    with Portal() as portal:

        async def work():
            return await portal.in_main_thread(threading.current_thread), threading.current_thread()

        served, ran = portal.run(work)
    assert served is threading.main_thread()
    assert ran is not threading.main_thread()


def test_an_error_of_the_called_function_reaches_the_coroutine():
    with Portal() as portal:

        async def work():
            with pytest.raises(ZeroDivisionError):
                await portal.in_main_thread(lambda: 1 / 0)
            return "went on"

        assert portal.run(work) == "went on"


def test_an_error_of_the_coroutine_is_raised():
    async def work():
        raise KeyError("x")

    with Portal() as portal, pytest.raises(KeyError):
        portal.run(work)


class Alarm(BaseException):
    pass


def test_an_exception_from_a_signal_handler_leaves_at_once_and_cancels_the_coroutine():
    cancelled = threading.Event()

    async def work():
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            cancelled.set()
            raise

    def handler(signum, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    began = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Alarm), Portal() as portal:
            portal.run(work)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 4
    assert cancelled.is_set()


def test_a_brief_call_gives_up_in_time():
    with Portal() as portal:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            portal.run_briefly(lambda: anyio.sleep(60), 0.2)
        assert time.monotonic() - began < 2


PROGRAM = """
import signal, sys, anyio
from airflow_provider_mlops.external_job.portal import Portal

portal = Portal()
class Ended(Exception): pass

async def cancel():
    await anyio.sleep(0.1)
    return "cancelled"

def on_term(signum, frame):
    print(portal.run_briefly(cancel, 3.0), flush=True)
    raise Ended

async def work():
    print("waiting", flush=True)
    await anyio.sleep(60)

signal.signal(signal.SIGTERM, on_term)
try:
    with portal:
        portal.run(work)
except Ended:
    print("ended", flush=True)
"""


def test_sigterm_while_waiting_can_use_the_loop_and_ends_the_process_within_the_time_airflow_allows():
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    began = time.monotonic()
    os.kill(child.pid, signal.SIGTERM)
    out, _ = child.communicate(timeout=30)
    assert out.split() == ["cancelled", "ended"]
    assert child.returncode == 0
    assert time.monotonic() - began < 4
