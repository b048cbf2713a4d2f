"""Models from an object store: fetched once, whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from airflow_provider_mlops.compat import AIRFLOW_3
from airflow_provider_mlops.errors import InvalidArgument, RemoteUnavailable, StorageUnwritable
from airflow_provider_mlops.vector import OnnxEmbedder, VectorIndex
from airflow_provider_mlops.vector.embedders import model_cache
from airflow_provider_mlops.vector.embedders.model_cache import fetch_model
from airflow_provider_mlops.vector.errors import EmbedderModelMissing
from airflow_provider_mlops.vector.hook import located

MODEL = os.urandom(3 << 20)
TOKENIZER = b'{"tokenizer": true}'


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Any]:
    """A model folder in an object store."""
    remote = UPath("memory://") / f"models-{tmp_path.name}" / "all-MiniLM-L6-v2"
    put(remote / "onnx" / "model.onnx", MODEL)
    put(remote / "tokenizer.json", TOKENIZER)
    put(remote / "README.md", b"not needed")
    yield remote
    remote.fs.rm(remote.parent.path, recursive=True)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def put(path: Any, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)


def reads(place: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened from now on."""
    opened: list[str] = []
    plain = model_cache._blocks

    def watched(source: Any) -> Iterator[bytes]:
        opened.append(source.name)
        return plain(source)

    monkeypatch.setattr(model_cache, "_blocks", watched)
    return opened


def test_only_what_is_needed_is_fetched_and_only_once(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = reads(place, monkeypatch)
    folder = fetch_model(place, None, cache)
    assert (folder / "onnx" / "model.onnx").read_bytes() == MODEL
    assert (folder / "tokenizer.json").read_bytes() == TOKENIZER
    assert sorted(opened) == ["model.onnx", "tokenizer.json"]
    assert fetch_model(place, None, cache) == folder
    assert len(opened) == 2
    assert [path.name for path in cache.iterdir() if path.is_dir()] in (
        ["refs", folder.name],
        [folder.name, "refs"],
    )


def test_the_same_content_elsewhere_is_the_same_folder_and_other_content_another(
    place: Any, cache: Path
) -> None:
    folder = fetch_model(place, None, cache)
    copy = place.parent / "copy"
    put(copy / "onnx" / "model.onnx", MODEL)
    put(copy / "tokenizer.json", TOKENIZER)
    assert fetch_model(copy, None, cache) == folder
    time.sleep(0.01)
    put(copy / "tokenizer.json", TOKENIZER + b" ")
    assert fetch_model(copy, None, cache) != folder
    assert fetch_model(place, None, cache) == folder


def test_weights_beside_the_model_come_along_and_count(place: Any, cache: Path) -> None:
    put(place / "onnx" / "model.onnx_data", b"weights")
    folder = fetch_model(place, None, cache)
    assert (folder / "onnx" / "model.onnx_data").read_bytes() == b"weights"
    one = OnnxEmbedder(str(folder)).identity()
    (folder / "onnx" / "model.onnx_data").write_bytes(b"others")
    assert OnnxEmbedder(str(folder)).identity() != one


def test_a_named_model_is_fetched_instead(place: Any, cache: Path) -> None:
    put(place / "onnx" / "model_quantized.onnx", b"small")
    folder = fetch_model(place, "onnx/model_quantized.onnx", cache)
    assert not (folder / "onnx" / "model.onnx").exists()
    assert (folder / "onnx" / "model_quantized.onnx").read_bytes() == b"small"


def test_what_is_missing_is_named_and_nothing_is_made(place: Any, cache: Path) -> None:
    with pytest.raises(EmbedderModelMissing, match=r"no nothing\.onnx"):
        fetch_model(place, "nothing.onnx", cache)
    with pytest.raises(EmbedderModelMissing, match="nowhere"):
        fetch_model(place.parent / "nowhere", None, cache)
    assert not cache.exists()


def test_damage_in_the_cache_is_repaired(place: Any, cache: Path) -> None:
    folder = fetch_model(place, None, cache)
    (folder / "onnx" / "model.onnx").write_bytes(MODEL[:-1])
    assert fetch_model(place, None, cache) == folder
    assert (folder / "onnx" / "model.onnx").read_bytes() == MODEL
    (folder / "tokenizer.json").unlink()
    assert (fetch_model(place, None, cache) / "tokenizer.json").read_bytes() == TOKENIZER
    shutil.rmtree(folder)
    assert (fetch_model(place, None, cache) / "tokenizer.json").read_bytes() == TOKENIZER


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name != "refs"]


def test_an_answer_cut_short_leaves_nothing(place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_blocks", lambda source: iter([b"half"]))
    with pytest.raises(RemoteUnavailable, match=f"ended after 4 of {len(MODEL)} bytes"):
        fetch_model(place, None, cache)
    assert leftovers(cache) == []


def test_a_store_that_breaks_off_is_worth_a_retry(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *arguments: Any, **keywords: Any) -> Any:
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(type(place.fs), "_open", broken)
        with pytest.raises(RemoteUnavailable, match="reset by peer"):
            fetch_model(place, None, cache)
    assert leftovers(cache) == []
    assert fetch_model(place, None, cache).is_dir()


def test_a_model_that_is_replaced_meanwhile_is_not_mixed(
    place: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = model_cache._blocks

    def replaced(source: Any) -> Iterator[bytes]:
        yield from plain(source)
        if source.name == "model.onnx":
            put(place / "tokenizer.json", b"of the next model")

    with monkeypatch.context() as patch:
        patch.setattr(model_cache, "_blocks", replaced)
        with pytest.raises(RemoteUnavailable, match=r"changed while|ended after"):
            fetch_model(place, None, cache)
    assert leftovers(cache) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """The child may write files of one megabyte at most."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(MODEL)
    (model / "tokenizer.json").write_bytes(TOKENIZER)
    code = (
        "import resource, signal, sys, pathlib\n"
        "from upath import UPath\n"
        "from airflow_provider_mlops.errors import StorageUnwritable\n"
        "from airflow_provider_mlops.vector.embedders.model_cache import fetch_model\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try:\n    fetch_model(UPath('file://' + sys.argv[1]), None, pathlib.Path(sys.argv[2]))\n"
        "except StorageUnwritable as error:\n    print(error)\n"
    )
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(cache)], capture_output=True, text=True, timeout=60
    )
    assert "Model cache" in done.stdout, done.stderr
    assert "XDG_CACHE_HOME" in done.stdout
    assert leftovers(cache) == []


def test_an_unwritable_cache_is_named(place: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnwritable, match="file/below"):
        fetch_model(place, None, tmp_path / "file" / "below")


def _fetch_from_disk(model: str, cache: str, answers: Any) -> None:
    answers.put(str(fetch_model(UPath(f"file://{model}"), None, Path(cache))))


def test_several_at_once_share_one_fetch(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(MODEL)
    (model / "tokenizer.json").write_bytes(TOKENIZER)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    tasks = [
        context.Process(target=_fetch_from_disk, args=(str(model), str(cache), answers)) for _ in range(4)
    ]
    for task in tasks:
        task.start()
    folders = {answers.get(timeout=60) for _ in tasks}
    for task in tasks:
        task.join(60)
    assert len(folders) == 1
    assert leftovers(cache) == [Path(folders.pop()).name]


def test_a_kill_in_the_middle_leaves_nothing_that_looks_whole(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(MODEL)
    (model / "tokenizer.json").write_bytes(TOKENIZER)
    code = (
        "import os, signal, sys, pathlib\n"
        "from upath import UPath\n"
        "from airflow_provider_mlops.vector.embedders import model_cache\n"
        "def half(source):\n"
        "    yield b'half'\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "model_cache._blocks = half\n"
        "model_cache.fetch_model(UPath('file://' + sys.argv[1]), None, pathlib.Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model), str(cache)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    (draft,) = leftovers(cache)
    assert draft.startswith(".")
    folder = fetch_model(UPath(model.as_uri()), None, cache)
    assert (folder / "model.onnx").read_bytes() == MODEL
    assert leftovers(cache) == [folder.name]


def test_an_index_fetches_its_model_from_a_uri(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if AIRFLOW_3:
        from airflow.sdk.io import attach
    else:
        from airflow.io.store import attach

    attach("memory", fs=place.fs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    index = VectorIndex("Docs", embedder=OnnxEmbedder(str(place)), uri=str(tmp_path / "lance"))
    embedder = located(index).embedder
    assert isinstance(embedder, OnnxEmbedder)
    folder = Path(embedder.model)
    assert folder.parent == tmp_path / "home" / "airflow-provider-mlops" / "models"
    assert (folder / "onnx" / "model.onnx").read_bytes() == MODEL
    assert located(VectorIndex("Docs", uri="/x")) == VectorIndex("Docs", uri="/x")


def test_a_kind_of_uri_that_nothing_here_reads_is_named(tmp_path: Path) -> None:
    index = VectorIndex("Docs", embedder=OnnxEmbedder("unheard-of://bucket/model"), uri=str(tmp_path))
    with pytest.raises(InvalidArgument, match="unheard-of"):
        located(index)
