from __future__ import annotations

import pytest

from airflow_provider_mlops.bento.build_request import BuildRequest
from airflow_provider_mlops.bento.context_folder import read_context, read_model
from airflow_provider_mlops.bento.errors import BentoContextInvalid


@pytest.fixture
def folder(tmp_path):
    context = tmp_path / "docs-search"
    context.mkdir()
    (context / "service.py").write_text("import bentoml\n")
    return context


def write(folder, path, text=""):
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def packed(folder, **fields):
    return [file.path for file in read_context(BuildRequest(context=str(folder), **fields)).files]


def test_a_folder_without_a_service_is_named_together_with_the_next_step(tmp_path):
    with pytest.raises(BentoContextInvalid) as caught:
        read_context(BuildRequest(context=str(tmp_path)))
    assert str(tmp_path) in caught.value.message
    assert "service.py" in caught.value.next_step


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BentoContextInvalid, match="nowhere"):
        read_context(BuildRequest(context=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("service", "service.py"),
        ("service:Search", "service.py"),
        ("service.py:Search", "service.py"),
        ("app.main:Search", "app/main.py"),
        ("app/main.py:Search", "app/main.py"),
        ("pkg:Search", "pkg/__init__.py"),
        ("main:Search", "src/main.py"),
    ],
)
def test_a_service_is_found_however_its_path_is_written(tmp_path, service, file):
    write(tmp_path, file)
    assert read_context(BuildRequest(context=str(tmp_path), service=service)).service == service


def test_a_service_that_the_bentofile_names_wrongly_is_refused(folder):
    write(folder, "bentofile.yaml", "service: other:Search\n")
    with pytest.raises(BentoContextInvalid, match=r"other:Search.*bentofile\.yaml"):
        read_context(BuildRequest(context=str(folder)))


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "service: [unclosed", "service: 'x\n", "include: '*.py'\n"]
)
def test_a_malformed_bentofile_is_refused_before_anything_is_built(folder, text):
    write(folder, "bentofile.yaml", text)
    with pytest.raises(BentoContextInvalid, match="bentofile"):
        read_context(BuildRequest(context=str(folder)))


def test_a_bentofile_that_is_not_there_is_named(folder):
    with pytest.raises(BentoContextInvalid, match=r"prod\.yaml"):
        read_context(BuildRequest(context=str(folder), bentofile="prod.yaml"))


def test_the_name_comes_from_the_request_then_the_bentofile_then_the_folder(folder):
    assert read_context(BuildRequest(context=str(folder))).name == "docs_search"
    write(folder, "bentofile.yaml", "name: From-File\n")
    assert read_context(BuildRequest(context=str(folder))).name == "from-file"
    assert read_context(BuildRequest(context=str(folder), name="given")).name == "given"


def test_options_come_from_pyproject_where_there_is_no_bentofile(folder):
    write(
        folder,
        "pyproject.toml",
        '[project]\nname = "search"\ndependencies = ["six"]\n[tool.bentoml.build]\nservice = "service:S"\n',
    )
    context = read_context(BuildRequest(context=str(folder)))
    assert (context.name, context.service) == ("search", "service:S")
    assert context.options["project.dependencies"] == ["six"]


def test_include_exclude_and_ignore_files_decide_what_is_packed(folder):
    write(folder, "bentofile.yaml", "include: ['*.py', '*.txt', data/]\nexclude: ['secret*']\n")
    for path in ("a.txt", "a.md", "secret.txt", "data/big.bin", "data/raw/x.csv", "sub/b.py", "sub/tmp.py"):
        write(folder, path)
    write(folder, ".bentoignore", "data/raw\n")
    write(folder, "sub/.bentoignore", "tmp.py\n")
    assert packed(folder) == ["a.txt", "data/big.bin", "service.py", "sub/b.py"]


def test_folders_that_bentoml_never_packs_do_not_count(folder):
    for path in (".git/HEAD", "venv/x.py", ".venv/y.py", "__pycache__/service.pyc", "sub/__pycache__/z.pyc"):
        write(folder, path)
    assert packed(folder) == ["service.py"]


def test_files_that_the_build_reads_count_although_they_are_not_packed(folder):
    write(
        folder,
        "bentofile.yaml",
        "include: ['*.py']\npython: {requirements_txt: ./reqs/prod.txt}\ndescription: 'file: ABOUT.md'\n",
    )
    for path in ("reqs/prod.txt", "ABOUT.md", "README.md", "other.md"):
        write(folder, path)
    assert packed(folder) == ["ABOUT.md", "README.md", "reqs/prod.txt", "service.py"]


def test_a_link_that_leads_nowhere_is_packed_as_a_link(folder):
    (folder / "dangling").symlink_to("nowhere")
    assert "dangling" in packed(folder)


def test_the_executable_bit_and_the_target_of_a_link_are_part_of_a_file(folder):
    script = write(folder, "run.sh", "#!/bin/sh\n")
    link = folder / "link"
    link.symlink_to("service.py")
    before = read_context(BuildRequest(context=str(folder))).files
    script.chmod(0o755)
    link.unlink()
    link.symlink_to("run.sh")
    after = read_context(BuildRequest(context=str(folder))).files
    changed = {old.path for old, new in zip(before, after, strict=True) if old != new}
    assert changed == {"run.sh", "link"}


def test_a_model_is_one_file_or_all_files_of_a_folder(tmp_path):
    write(tmp_path, "model/a.bin", "1")
    write(tmp_path, "model/deep/b.bin", "2")
    assert [file.path for file in read_model(tmp_path / "model")] == ["a.bin", "deep/b.bin"]
    assert [file.path for file in read_model(tmp_path / "model" / "a.bin")] == ["a.bin"]


def test_an_empty_or_missing_model_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing"):
        with pytest.raises(FileNotFoundError):
            read_model(tmp_path / place)


def test_a_model_has_the_same_hash_whether_its_files_are_linked_or_not(tmp_path):
    real = write(tmp_path, "blobs/123", "weights")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.bin").symlink_to(real)
    copy = write(tmp_path, "copy/model.bin", "weights")
    assert read_model(tmp_path / "snapshot") == read_model(copy.parent)
