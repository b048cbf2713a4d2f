from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest
from upath import UPath

from airflow_provider_mlops.bento.builders import Isolation
from airflow_provider_mlops.bento.errors import (
    BentoBuildFailed,
    BentoBuildInterrupted,
    BentoContainsSecret,
    BentoContextInvalid,
    BentoVersionTaken,
    DependencyLockFailed,
    EnvironmentBuildFailed,
    ModelMissing,
    PackageIndexUnreachable,
    ServiceImportFailed,
)
from airflow_provider_mlops.bento.index_access import index_access
from airflow_provider_mlops.errors import StorageUnwritable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PLAIN = "import bentoml\n\n\n@bentoml.service\nclass Plain:\n    @bentoml.api\n    def ping(self) -> str:\n        return 'pong'\n"


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path, monkeypatch):
    """What a build leaves in the temporary folder can be seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def plain(context, code=""):
    (context / "service.py").write_text(code + "\n" + PLAIN)
    return context


def stored(tmp_path):
    store = tmp_path / "store"
    return sorted(path.name for path in store.rglob("*") if path.is_file()) if store.exists() else []


def running(marker):
    """Command lines that hold the marker, other than ours."""
    found = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if marker in line and " ps -ewwo" not in line]


def read(tmp_path, payload, member):
    with tarfile.open(payload["uri"]) as tar:
        return tar.extractfile(member).read().decode()


def test_two_builds_in_two_places_give_the_same_digest_and_a_third_is_reused(build, context, tmp_path):
    first = build(context)
    moved = tmp_path / "elsewhere" / "scorer"
    moved.parent.mkdir()
    context.rename(moved)
    second = build(moved, store="other")
    third = build(moved)
    assert first["digest"] == second["digest"]
    assert (first["reused"], second["reused"], third["reused"]) == (False, False, True)
    assert {**first, "reused": True} == third
    assert first["version"] == f"h-{first['input_hash'][:16]}"
    assert first["size"] == Path(first["uri"]).stat().st_size


def test_nothing_is_written_into_the_context_or_left_in_the_temporary_folder(
    build, context, private_temporary_folder
):
    build(context)
    assert [path.name for path in context.iterdir()] == ["service.py"]
    assert list(private_temporary_folder.iterdir()) == []


def test_a_changed_file_or_model_gives_another_version(build, context, weights):
    first = build(context)
    weights.write_text('{"factor": 3}')
    second = build(context)
    (context / "service.py").write_text((context / "service.py").read_text() + "# changed\n")
    third = build(context)
    assert len({payload["version"] for payload in (first, second, third)}) == 3
    assert first["models"] != second["models"] == third["models"]


def test_two_builds_in_a_row_with_the_same_module_name_hold_their_own_service(build, tmp_path):
    # In one process the second would get the first one's service.
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "service.py").write_text(PLAIN.replace("Plain", name.title()))
        payload = build(folder, models={})
        assert f"entry_service: {name.title()}" in read(tmp_path, payload, "bento.yaml")


def test_name_version_labels_and_arguments_arrive(build, context, tmp_path):
    plain(context, "import bentoml\nassert bentoml.use_arguments().size == 3\n")
    (context / "bentofile.yaml").write_text("labels: {stage: beta, team: a}\n")
    payload = build(context, models={}, name="named", version="1.0", labels={"team": "b"}, args={"size": 3})
    assert payload["tag"] == "named:1.0"
    text = read(tmp_path, payload, "bento.yaml")
    assert "stage: beta" in text
    assert "team: b" in text


def test_an_explicit_version_is_reused_for_the_same_input_and_refused_for_other_input(build, context):
    plain(context)
    assert build(context, models={}, version="1.0")["reused"] is False
    assert build(context, models={}, version="1.0")["reused"] is True
    plain(context, "# changed")
    with pytest.raises(BentoVersionTaken):
        build(context, models={}, version="1.0")


def test_a_model_that_the_service_does_not_declare_is_in_the_archive_too(build, context, tmp_path):
    folder = tmp_path / "tokenizer"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "vocabulary.txt").write_text("a b c")
    payload = build(plain(context), models={"tokenizer": folder})
    with tarfile.open(payload["uri"]) as tar:
        names = tar.getnames()
    version = payload["models"]["tokenizer"][:16]
    assert f"models/tokenizer/{version}/deep/vocabulary.txt" in names
    assert "models/tokenizer/latest" in names


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (
            "import not_installed_anywhere",
            r"service\.py:1: ModuleNotFoundError: No module named 'not_installed",
        ),
        ("raise ValueError('weights are\\nwrong')", r"service\.py:1: ValueError: weights are wrong"),
        ("import sys; sys.exit(3)", r"service\.py:1: it called sys\.exit\(3\)"),
        ("def f(:", r"SyntaxError"),
        (
            "raise ExceptionGroup('several', [ValueError('a'), KeyError('b')])",
            r"ValueError: a; KeyError: 'b'",
        ),
    ],
)
def test_a_broken_service_is_named_with_its_inner_cause_and_line(build, context, tmp_path, code, cause):
    with pytest.raises(ServiceImportFailed, match=cause):
        build(plain(context, code), models={})
    assert stored(tmp_path) == []


def test_a_module_without_a_service_is_named(build, context):
    (context / "service.py").write_text("x = 1\n")
    with pytest.raises(ServiceImportFailed, match="No service found"):
        build(context, models={})


def test_a_service_attribute_that_is_not_there_is_named(build, context):
    with pytest.raises(ServiceImportFailed, match="Other"):
        build(plain(context), models={}, service="service:Other")


def test_a_process_that_dies_without_a_word_is_reported_with_its_last_words(build, context):
    code = "import os, sys\nprint('about to go', flush=True)\nos._exit(9)\n"
    with pytest.raises(BentoBuildFailed, match=r"exit code 9.*about to go"):
        build(plain(context, code), models={})


def test_output_of_the_users_code_cannot_be_taken_for_a_result(build, context):
    code = """
import json, os, sys, threading, time
print(json.dumps({"bento": {"name": "forged"}}))
sys.stdout.close()
threading.Thread(target=lambda: time.sleep(600)).start()
"""
    payload = build(plain(context, code), models={})
    assert payload["name"] == "scorer"
    assert any("forged" in line for line in build.lines)


def test_a_model_that_nobody_gave_is_named(build, context):
    with pytest.raises(ModelMissing, match="classifier"):
        build(context, models={})


def test_a_model_that_the_module_asks_for_while_it_is_imported_is_named(build, context):
    with pytest.raises(ModelMissing, match=r"service\.py:\d.*reranker"):
        build(plain(context, "import bentoml\nbentoml.models.get('reranker:latest')"), models={})


def test_a_model_in_an_object_store_gives_the_same_bento_as_one_on_the_disk(build, context, weights):
    remote = UPath("memory://models/run-1") / weights.name
    with remote.open("wb") as out:
        out.write(weights.read_bytes())
    assert build(context)["digest"] == build(context, models={"classifier": remote})["digest"]
    folder = build(context, models={"classifier": remote.parent})
    assert folder["reused"] is True


def test_a_model_that_is_not_at_its_place_is_named(build, context, tmp_path):
    with pytest.raises(ModelMissing, match="nowhere"):
        build(context, models={"classifier": tmp_path / "nowhere"})


@pytest.mark.parametrize("text", ["unknown_key: 1\n", "docker: {distro: windows95}\n"])
def test_a_bentofile_that_bentoml_refuses_is_named(build, context, text):
    (context / "bentofile.yaml").write_text(text)
    with pytest.raises(BentoContextInvalid, match=r"unknown_key|windows95"):
        build(plain(context), models={})


def test_requirements_are_not_locked_unless_asked_for(build, context, tmp_path):
    (context / "bentofile.yaml").write_text("python: {packages: [six]}\n")
    payload = build(plain(context), models={}, access=index_access({**os.environ, "UV_OFFLINE": "1"}))
    assert read(tmp_path, payload, "env/python/requirements.txt").splitlines()[0] == "six"


def test_requirements_that_conflict_are_named_with_the_resolvers_words(build, context):
    (context / "bentofile.yaml").write_text("python: {packages: ['six==1.16.0', 'six==1.15.0']}\n")
    with pytest.raises(DependencyLockFailed, match="unsatisfiable"):
        build(plain(context), models={}, lock="on")


def test_an_index_that_does_not_answer_while_locking_is_worth_a_retry(build, context, ready_made):
    (context / "bentofile.yaml").write_text("python: {packages: [six], lock_packages: true}\n")
    environ = {
        **os.environ,
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_NO_CACHE": "1",
        "UV_HTTP_RETRIES": "0",
    }
    with pytest.raises(PackageIndexUnreachable, match=r"Service.*127\.0\.0\.1:9"):
        build(plain(context), models={}, access=index_access(environ), isolation=ready_made)


@pytest.fixture
def package_page():
    """A page of packages for which one has to log in: its port, and the credentials that it was given."""
    seen = set()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            login = self.headers.get("Authorization")
            seen.update([login] if login else [])
            self.send_response(200 if login else 401)
            self.send_header("WWW-Authenticate", "Basic realm=packages")
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html></html>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, seen
        server.shutdown()


@pytest.mark.parametrize("lock", ["off", "on"])
def test_the_password_of_an_index_reaches_neither_the_bento_nor_the_log(
    build, context, ready_made, package_page, tmp_path, lock
):
    (context / "bentofile.yaml").write_text("python: {packages: [six]}\n")
    environ = {**os.environ, "UV_FIND_LINKS": f"http://ci:hunter22@127.0.0.1:{package_page[0]}/"}
    payload = build(plain(context), models={}, access=index_access(environ), isolation=ready_made, lock=lock)
    assert package_page[1] == ({"Basic Y2k6aHVudGVyMjI="} if lock == "on" else set())
    assert b"hunter22" not in Path(payload["uri"]).read_bytes()
    assert not any("hunter22" in line for line in build.lines)


def test_a_bento_that_holds_a_credential_is_not_stored(build, context, tmp_path):
    (context / "settings.py").write_text("DSN = 'postgresql://svc:Pa55w0rd@db/prod'\n")
    with pytest.raises(BentoContainsSecret, match=r"src/settings\.py:1") as caught:
        build(plain(context), models={})
    assert "Pa55w0rd" not in str(caught.value)
    assert stored(tmp_path) == []


def test_a_store_that_cannot_be_written_is_found_before_the_build(build, context, tmp_path):
    (tmp_path / "store").write_text("in the way")
    with pytest.raises(StorageUnwritable, match="store"):
        build(plain(context, "raise SystemError('built')"), models={})


@pytest.fixture
def endless(context, tmp_path):
    """A service that never ends being imported and starts a process in a session of its own."""
    marker = f"stray-{os.getpid()}-{time.monotonic_ns()}"
    code = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300) # {marker}"], start_new_session=True)
open({str(tmp_path / "begun")!r}, "w").close()
time.sleep(300)
"""
    plain(context, code)
    return context, tmp_path / "begun", marker


def test_a_kill_during_a_build_leaves_no_process_no_half_archive_and_no_temporary_files(
    build, endless, tmp_path, private_temporary_folder
):
    context, begun, marker = endless
    builder, caught = build.make(), []

    def attempt():
        try:
            build(context, models={}, builder=builder)
        except BentoBuildInterrupted as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert running(marker)
    builder.kill()
    thread.join(30)
    assert caught
    assert running(marker) == []
    assert running(str(private_temporary_folder)) == []
    assert stored(tmp_path) == []
    assert list(private_temporary_folder.iterdir()) == []


def test_a_build_that_takes_too_long_is_stopped(build, endless, tmp_path):
    context, _, marker = endless
    with pytest.raises(BentoBuildInterrupted, match="longer than"):
        build(context, models={}, timeout=8.0)
    assert running(marker) == []
    assert stored(tmp_path) == []


def test_two_builds_of_the_same_input_at_once_store_one_bento(build, context, tmp_path):
    results = []
    threads = [threading.Thread(target=lambda: results.append(build(context))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(result["digest"], result["uri"]) for result in results}) == 1
    assert len(results) == 2
    assert stored(tmp_path) == [f"{results[0]['version']}.json", f"{results[0]['version']}.tar"]


def test_a_build_works_in_an_environment_that_somebody_else_made(build, context, ready_made):
    assert build(plain(context), models={}, isolation=ready_made)["kind"] == "bento"


def test_an_external_environment_without_bentoml_is_refused_with_the_command_that_helps(
    build, context, tmp_path
):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(EnvironmentBuildFailed, match="no BentoML") as caught:
        build(context, isolation=Isolation(mode="external", python=str(bare / "bin" / "python")))
    assert "pip install" in caught.value.next_step


def test_requirements_that_do_not_exist_leave_no_environment_behind(build, context, tmp_path):
    isolation = Isolation(requirements=("bentoml>=1.4.39,<1.5", "six==99.99"), cache=tmp_path / "cache")
    with pytest.raises(EnvironmentBuildFailed, match=r"six==99\.99"):
        build(context, isolation=isolation)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_the_payload_is_small_flat_json(build, context):
    payload = build(context)
    assert len(json.dumps(payload)) < 1000
    assert (payload["schema"], payload["kind"]) == (1, "bento")
