"""A real ONNX model of a few words, small enough to know by heart what it has to answer.

The hidden state of a token is its row of :data:`STATES`, plus 1 in the last dimension for tokens of type 1
(there are none) where the model takes types.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "query", "passage", ":")
DIMENSION = 4
#: Padding is large: a mean that counts it is far off.
STATES = np.random.default_rng(7).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
STATES[0] = 1000.0


def write_model(
    folder: Path,
    *,
    name: str = "model.onnx",
    inputs: Sequence[str] = ("input_ids", "attention_mask"),
    output: str = "last_hidden_state",
    pooled: bool = False,
    states: np.ndarray = STATES,
    integers: str = "INT64",
    positions: int | None = None,
) -> Path:
    """Write ``name`` and ``tokenizer.json`` into the folder, which is made; returns the folder.

    :param pooled: sum over the tokens inside the model, so that there is no hidden state.
    :param positions: longest text that the model takes.
    """
    from onnx import TensorProto, checker, helper, numpy_helper, save

    kind = getattr(TensorProto, integers)
    initializers = [numpy_helper.from_array(states.astype(np.float32), "states")]
    nodes = [helper.make_node("Gather", ["states", "input_ids"], ["tokens"])]
    last = "tokens"
    if "token_type_ids" in inputs:
        types = np.zeros((2, states.shape[1]), np.float32)
        types[1, -1] = 1.0
        initializers.append(numpy_helper.from_array(types, "types"))
        nodes += [
            helper.make_node("Gather", ["types", "token_type_ids"], ["typed"]),
            helper.make_node("Add", [last, "typed"], ["with_types"]),
        ]
        last = "with_types"
    if positions is not None:
        table = np.zeros((1, positions, 1), np.float32)
        initializers += [
            numpy_helper.from_array(table, "positions"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(np.array([2]), "two"),
        ]
        nodes += [
            helper.make_node("Shape", ["input_ids"], ["shape"]),
            helper.make_node("Slice", ["shape", "one", "two", "zero"], ["width"]),
            helper.make_node("Slice", ["positions", "zero", "width", "one"], ["placed"]),
            helper.make_node("Add", [last, "placed"], ["with_positions"]),
        ]
        last = "with_positions"
    shape: list[str | int] = ["text", "token", states.shape[1]]
    if pooled:
        initializers.append(numpy_helper.from_array(np.array([1]), "axis"))
        nodes.append(helper.make_node("ReduceSum", [last, "axis"], [output], keepdims=0))
        del shape[1]
    else:
        nodes.append(helper.make_node("Identity", [last], [output]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(given, kind, ["text", "token"]) for given in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        initializers,
    )
    # Old enough for the lowest onnxruntime that is supported.
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    checker.check_model(model)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    save(model, folder / name)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of whole lower-case words that puts [CLS] and [SEP] around a text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", numbers["[CLS]"]), ("[SEP]", numbers["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def expected(*words: str) -> np.ndarray:
    """Unit vector of a text of these words, worked out without the model."""
    numbers = [WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]
    mean = STATES[numbers].mean(axis=0)
    vector: np.ndarray = mean / np.linalg.norm(mean)
    return vector
