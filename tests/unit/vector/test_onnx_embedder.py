"""Sentence embeddings of a tiny real ONNX model, compared with what they are by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from airflow_provider_mlops.compat import AirflowFailException
from airflow_provider_mlops.errors import ExtraMissing, InvalidArgument
from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.vector import OnnxEmbedder, RecursiveChunker, VectorIndex
from airflow_provider_mlops.vector.embedders import embedder_from_json, embedder_to_json
from airflow_provider_mlops.vector.errors import EmbedderModelInvalid, EmbedderModelMissing
from tests.unit.vector.tiny_onnx import STATES, WORDS, expected, write_model, write_tokenizer

pytest.importorskip("onnx")
CONTEXT = {"ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def embedder(folder: Path) -> OnnxEmbedder:
    return OnnxEmbedder(str(folder))


def test_vectors_are_the_normalised_mean_over_the_tokens_and_padding_does_not_count(
    embedder: OnnxEmbedder,
) -> None:
    vectors = embedder.embed(["red", "Red green blue red green blue", "green unknown"])
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(
        np.stack(
            [
                expected("red"),
                expected("red", "green", "blue", "red", "green", "blue"),
                expected("green", "[UNK]"),
            ]
        ),
        abs=1e-6,
    )
    assert embedder.dimension == 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_vectors_come_in_the_order_of_the_texts_whatever_the_batches(
    embedder: OnnxEmbedder, batch_size: int
) -> None:
    texts = [" ".join(["red", "green", "blue"] * (number % 4) + ["blue"]) for number in range(11)]
    vectors = replace(embedder, batch_size=batch_size).embed(texts)
    assert vectors == pytest.approx(np.stack([expected(*text.split()) for text in texts]), abs=1e-6)


def test_texts_are_cut_at_max_tokens_special_tokens_included(embedder: OnnxEmbedder) -> None:
    (vector,) = replace(embedder, max_tokens=4).embed(["red green blue blue blue"])
    assert vector == pytest.approx(expected("red", "green"), abs=1e-6)


def test_queries_and_passages_get_their_prefix(embedder: OnnxEmbedder) -> None:
    prefixed = replace(embedder, query_prefix="query: ", passage_prefix="passage: ")
    assert prefixed.embed(["red"], "query")[0] == pytest.approx(expected("query", ":", "red"), abs=1e-6)
    assert prefixed.embed(["red"])[0] == pytest.approx(expected("passage", ":", "red"), abs=1e-6)


def test_no_texts_give_no_vectors_and_an_empty_text_that_of_the_special_tokens(
    embedder: OnnxEmbedder,
) -> None:
    assert embedder.embed([]).shape == (0, 4)
    assert embedder.embed([""])[0] == pytest.approx(expected(), abs=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs": ("input_ids", "attention_mask", "token_type_ids")},
        {"inputs": ("attention_mask", "input_ids"), "integers": "INT32"},
        {"output": "token_embeddings"},
        {"output": "something"},
    ],
)
def test_models_differ_in_their_inputs_and_in_the_name_of_the_output(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    embedder = OnnxEmbedder(str(write_model(tmp_path, **arguments)))
    assert embedder.embed(["red blue"])[0] == pytest.approx(expected("red", "blue"), abs=1e-6)


def test_model_lies_in_the_folder_or_in_onnx_and_another_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, name="onnx/model.onnx")
    assert OnnxEmbedder(str(tmp_path)).embed(["red"])[0] == pytest.approx(expected("red"), abs=1e-6)
    write_model(tmp_path, name="onnx/model_quantized.onnx", states=STATES * [[1, 1, 1, -1]])
    chosen = OnnxEmbedder(str(tmp_path), file="onnx/model_quantized.onnx").embed(["red"])[0]
    assert chosen == pytest.approx(expected("red") * [1, 1, 1, -1], abs=1e-6)
    assert OnnxEmbedder(str(tmp_path)).embed(["red"])[0] == pytest.approx(expected("red"), abs=1e-6)


def test_a_replaced_model_is_read_anew(folder: Path, embedder: OnnxEmbedder) -> None:
    before = embedder.embed(["red"])
    identity = embedder.identity()
    write_model(folder, states=-STATES)
    assert embedder.embed(["red"]) == pytest.approx(-before)
    assert embedder.identity() != identity


def test_identity_is_what_is_done_with_which_content_and_not_where_it_lies(tmp_path: Path) -> None:
    here = OnnxEmbedder(str(write_model(tmp_path / "here")))
    there = OnnxEmbedder(
        str(write_model(tmp_path / "there", name="onnx/model.onnx")), batch_size=7, threads=1
    )
    query = replace(here, query_prefix="query: ")
    assert here.identity() == there.identity() == query.identity()
    assert (
        VectorIndex("Docs", embedder=here).fingerprint() == VectorIndex("Docs", embedder=there).fingerprint()
    )
    others = [
        OnnxEmbedder(str(write_model(tmp_path / "other", states=STATES + 1))),
        replace(here, max_tokens=64),
        replace(here, passage_prefix="passage: "),
    ]
    assert len({json.dumps(one.identity()) for one in (here, *others)}) == 4
    vocabulary = write_model(tmp_path / "vocabulary")
    text = (vocabulary / "tokenizer.json").read_text()
    (vocabulary / "tokenizer.json").write_text(text.replace('"red"', '"rot"'))
    assert OnnxEmbedder(str(vocabulary)).identity() != here.identity()


def test_survives_json_without_looking_at_the_model() -> None:
    embedder = OnnxEmbedder("all-MiniLM-L6-v2", file="onnx/model_O2.onnx", max_tokens=128, threads=2)
    assert embedder_from_json(json.loads(json.dumps(embedder_to_json(embedder)))) == embedder


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"model": ""}, "model ''"),
        ({"model": "../elsewhere"}, "elsewhere"),
        ({"model": "s3://key:hunter22@bucket/model"}, "credentials"),
        ({"file": "/etc/model.onnx"}, "inside the model's folder"),
        ({"file": "../model.onnx"}, "inside the model's folder"),
        ({"file": "model.bin"}, "not an .onnx"),
        ({"max_tokens": 2}, "max_tokens is 2"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_impossible_arguments_are_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        OnnxEmbedder(**{"model": "/models/a", **arguments})
    assert "hunter22" not in str(caught.value)


def test_a_name_means_nothing_outside_of_airflow() -> None:
    with pytest.raises(InvalidArgument, match="all-MiniLM-L6-v2"):
        OnnxEmbedder("all-MiniLM-L6-v2").embed(["red"])


def without_model(folder: Path) -> str:
    (folder / "model.onnx").unlink()
    return "no model.onnx"


def without_tokenizer(folder: Path) -> str:
    (folder / "tokenizer.json").unlink()
    return "no tokenizer.json"


def without_folder(folder: Path) -> str:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return "model"


@pytest.mark.parametrize("spoil", [without_model, without_tokenizer, without_folder])
def test_missing_files_are_named(folder: Path, embedder: OnnxEmbedder, spoil: Any) -> None:
    words = spoil(folder)
    for use in (embedder.identity, lambda: embedder.dimension, lambda: embedder.embed(["red"])):
        with pytest.raises(EmbedderModelMissing, match=words):
            use()


def cut_off(folder: Path) -> str:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-40])
    return "cannot be read"


def pointer(folder: Path) -> str:
    (folder / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\nsize 90387606\n")
    return "cannot be read"


def no_tokenizer(folder: Path) -> str:
    (folder / "tokenizer.json").write_text('{"model": {}}')
    return r"Tokenizer .*tokenizer\.json"


def no_mask(folder: Path) -> str:
    write_model(folder, inputs=["input_ids"])
    return "lacks attention_mask"


def image_model(folder: Path) -> str:
    write_model(folder, inputs=["input_ids", "attention_mask", "pixel_values"])
    return "wants pixel_values"


def floats(folder: Path) -> str:
    write_model(folder, inputs=["input_ids", "attention_mask"], integers="INT64")
    from onnx import TensorProto, load, save

    model = load(folder / "model.onnx")
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.FLOAT
    save(model, folder / "model.onnx")
    return r"attention_mask as tensor\(float\)"


def pooled(folder: Path) -> str:
    write_model(folder, pooled=True)
    return "no output has hidden states"


def few_positions(folder: Path) -> str:
    write_model(folder, positions=16)
    return r"256 tokens.*Lower max_tokens"


def foreign_tokenizer(folder: Path) -> str:
    write_model(folder, states=STATES[:5])
    return "belong together"


SPOILT = [
    cut_off,
    pointer,
    no_tokenizer,
    no_mask,
    image_model,
    floats,
    pooled,
    few_positions,
    foreign_tokenizer,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_unsuited_and_damaged_models_are_found_before_anything_is_written(
    folder: Path, tmp_path: Path, spoil: Any
) -> None:
    pytest.importorskip("lancedb")
    words = spoil(folder)
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "red"}\n')
    index = VectorIndex("Docs", embedder=OnnxEmbedder(str(folder)), uri=str(tmp_path / "lance"))
    task = VectorIndexOperator(task_id="t", index=index, source=str(tmp_path / "docs.jsonl"))
    with pytest.raises(EmbedderModelInvalid, match=words) as caught:
        task.execute(CONTEXT)
    assert isinstance(caught.value, AirflowFailException)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lance" / "Docs.lance").exists()


def test_as_many_positions_as_tokens_are_enough(folder: Path) -> None:
    write_model(folder, positions=16)
    assert OnnxEmbedder(str(folder), max_tokens=16).embed(["red " * 50]).shape == (1, 4)


def test_without_the_extra_the_error_names_the_pip_command(folder: Path) -> None:
    code = (
        "import sys\n"
        "from airflow_provider_mlops.vector import OnnxEmbedder\n"
        "assert not {'onnxruntime', 'tokenizers', 'numpy'} & set(sys.modules)\n"
        "sys.modules['onnxruntime'] = None\n"
        "from airflow_provider_mlops.errors import ExtraMissing\n"
        "embedder = OnnxEmbedder(sys.argv[1])\n"
        "embedder.identity()\n"
        "try:\n    embedder.dimension\n"
        "except ExtraMissing as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert "pip install 'airflow-provider-mlops[onnx]'" in done.stdout
    assert ExtraMissing.__name__ not in done.stderr


def test_an_index_with_a_name_finds_its_model_below_the_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lancedb")
    from airflow_provider_mlops.vector.hook import VectorSearchHook

    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACTS", (tmp_path / "shared").as_uri())
    write_model(tmp_path / "shared" / "models" / "team" / "colours")
    colours = list(WORDS[4:7])
    lines = "".join(json.dumps({"id": word, "text": word}) + "\n" for word in colours)
    (tmp_path / "docs.jsonl").write_text(lines)
    index = VectorIndex("Docs", embedder=OnnxEmbedder("team/colours"))
    cache = str(tmp_path / "cache.sqlite")

    def run(**arguments: Any) -> Any:
        return VectorIndexOperator(
            task_id="t",
            index=index,
            source=str(tmp_path / "docs.jsonl"),
            embedding_cache=cache,
            **arguments,
        ).execute(CONTEXT)

    first = run()
    assert (first["embedded"], first["active"]) == (3, True)
    assert [hit.doc for hit in VectorSearchHook(index).search("blue", k=1)] == ["blue"]
    # The same model elsewhere: the same index, and the cache knows its vectors.
    index = replace(index, embedder=OnnxEmbedder(str(write_model(tmp_path / "moved"))))
    again = run(mode="rebuild")
    assert (again["fingerprint"], again["embedded"], again["cached"]) == (first["fingerprint"], 0, 3)
    # Another model: everything anew.
    write_model(tmp_path / "moved", states=STATES + 1)
    other = run()
    assert (other["action"], other["embedded"]) == ("built", 3)
    assert other["fingerprint"] != first["fingerprint"]


def test_tokenizer_that_pads_and_cuts_by_itself_is_overruled(folder: Path) -> None:
    from tokenizers import Tokenizer

    write_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=12, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert OnnxEmbedder(str(folder)).embed(["red green"])[0] == pytest.approx(
        expected("red", "green"), abs=1e-6
    )


def test_tokens_are_counted_with_prefix_and_special_ones_and_beyond_the_cut(folder: Path) -> None:
    embedder = OnnxEmbedder(str(folder), max_tokens=3, query_prefix="query : ")
    assert embedder.count_tokens(["red green blue", ""]) == [5, 2]
    assert embedder.count_tokens(["red"], "query") == [5]
    chunker = RecursiveChunker(3, 0, tokenizer="embedder")
    pieces = chunker.chunks("red green blue", embedder.count_tokens)
    assert [piece.text for piece in pieces] == ["red", "green", "blue"]
    with pytest.raises(InvalidArgument, match="4 tokens are longer than the 3"):
        VectorIndex("Docs", embedder=embedder, chunker=RecursiveChunker(4, 0, tokenizer="embedder"))
