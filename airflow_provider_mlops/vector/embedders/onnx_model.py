"""A sentence embedding model in onnxruntime: tokens, hidden states, mean pooling. The one module that imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import ExtraMissing
from airflow_provider_mlops.vector.errors import EmbedderModelInvalid

if TYPE_CHECKING:
    import numpy as np

_REQUIRED_INPUTS = ("input_ids", "attention_mask")
_KNOWN_INPUTS = (*_REQUIRED_INPUTS, "token_type_ids")
#: What exporters call the hidden states; of other names the first output of three dimensions is taken.
_HIDDEN_STATES = ("last_hidden_state", "token_embeddings")
_PADS = ("[PAD]", "<pad>")
_INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
_FATAL_ONLY = 4


@lru_cache(maxsize=2)
def load_model(folder: Path, file: str, content: str, max_tokens: int, threads: int | None) -> OnnxModel:
    """The model, read and tried once per process.

    :param file: the model inside the folder.
    :param content: hash of what the folder holds, so that a replaced model is read anew.
    :raises ExtraMissing: the extra ``onnx`` is not installed.
    :raises EmbedderModelInvalid: the files cannot be read, or this is no sentence embedding model.
    """
    return OnnxModel(folder / file, folder / "tokenizer.json", max_tokens=max_tokens, threads=threads)


class OnnxModel:
    """Model and tokenizer, ready to embed.

    :param model: the ONNX file.
    :param tokenizer: its ``tokenizer.json``.
    :param max_tokens: longer texts are cut, special tokens included.
    :param threads: of onnxruntime; default: as many as this process may use CPUs.
    :raises ExtraMissing: the extra ``onnx`` is not installed.
    :raises EmbedderModelInvalid: the files cannot be read, or this is no sentence embedding model.
    """

    def __init__(self, model: Path, tokenizer: Path, *, max_tokens: int, threads: int | None) -> None:
        try:
            import onnxruntime
            import tokenizers
        except ImportError as error:
            raise ExtraMissing(
                f"OnnxEmbedder needs onnxruntime and tokenizers ({error})",
                next_step="pip install 'airflow-provider-mlops[onnx]'",
            ) from error
        self._path = model
        self._tokenizer = _tokenizer(tokenizers, tokenizer, max_tokens)
        self._pad = _pad_id(self._tokenizer)
        self._session = _session(onnxruntime, model, threads)
        self._inputs = self._check_inputs()
        self._output = self._find_output()
        self.dimension = self._try(max_tokens)

    def embed(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Unit vectors in the order of the texts; a text without tokens gives a vector of zeros."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        for batch in _batches(encoded, batch_size):
            vectors[batch] = self._pooled([encoded[place] for place in batch])
        return vectors

    def _pooled(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        import numpy as np

        width = max(1, *map(len, rows))
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        hidden = self._hidden(ids, mask)
        sums = np.where(mask[:, :, None] == 1, hidden, np.float32(0)).sum(axis=1)
        # The mean's divisor falls out of the normalisation; only the direction is left.
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        pooled: np.ndarray = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
        return pooled

    def _hidden(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import numpy as np

        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: values[name].astype(kind, copy=False) for name, kind in self._inputs.items()}
        try:
            hidden: np.ndarray = self._session.run([self._output], feed)[0]
        except Exception as error:  # onnxruntime's errors have no public base
            count, width = ids.shape
            raise EmbedderModelInvalid(
                f"Embedding model {str(self._path)!r} cannot embed {count} texts of {width} tokens: {_one_line(error)}",
                next_step="Lower max_tokens if the model has fewer positions; "
                "else check that model and tokenizer.json belong together.",
                path=str(self._path),
            ) from error
        return hidden.astype(np.float32, copy=False)

    def _check_inputs(self) -> dict[str, str]:
        """Name of each input to its numpy type."""
        types = {given.name: given.type for given in self._session.get_inputs()}
        missing = [name for name in _REQUIRED_INPUTS if name not in types]
        if missing:
            raise self._invalid(f"it takes {', '.join(types)} and lacks {', '.join(missing)}")
        unknown = [name for name in types if name not in _KNOWN_INPUTS]
        if unknown:
            raise self._invalid(f"it wants {', '.join(unknown)}, which a sentence embedding model does not")
        odd = [f"{name} as {kind}" for name, kind in types.items() if kind not in _INTEGERS]
        if odd:
            raise self._invalid(f"it wants {', '.join(odd)} instead of integers")
        return {name: _INTEGERS[kind] for name, kind in types.items()}

    def _find_output(self) -> str:
        found = [output.name for output in self._session.get_outputs() if len(output.shape or ()) == 3]
        if not found:
            names = ", ".join(f"{output.name} {output.shape}" for output in self._session.get_outputs())
            raise self._invalid(f"no output has hidden states (text, token, dimension); there are {names}")
        return next((name for name in _HIDDEN_STATES if name in found), found[0])

    def _try(self, tokens: int) -> int:
        """Dimension of the hidden states, seen on texts of the greatest length with the vocabulary's last token."""
        import numpy as np

        shape = (2, tokens)
        ids = np.full(shape, self._tokenizer.get_vocab_size() - 1, dtype=np.int64)
        hidden = self._hidden(ids, np.ones(shape, dtype=np.int64))
        if hidden.shape[:2] != shape or hidden.shape[2] < 1:
            raise self._invalid(
                f"its hidden states for 2 texts of {tokens} tokens have the shape {hidden.shape}"
            )
        return int(hidden.shape[2])

    def _invalid(self, why: str) -> EmbedderModelInvalid:
        return EmbedderModelInvalid(f"Embedding model {str(self._path)!r}: {why}", path=str(self._path))


def _tokenizer(tokenizers: Any, path: Path, max_tokens: int) -> Any:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise EmbedderModelInvalid(f"Tokenizer {str(path)!r}: {_one_line(error)}", path=str(path)) from error
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def _pad_id(tokenizer: Any) -> int:
    """Any token that the vocabulary has would do: padding is masked."""
    padding = tokenizer.padding
    if padding:
        tokenizer.no_padding()
        return int(padding["pad_id"])
    found = (tokenizer.token_to_id(name) for name in _PADS)
    return next((number for number in found if number is not None), 0)


def _session(onnxruntime: Any, path: Path, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    # Its own default counts the machine's cores and pins threads to them, which fails in containers.
    options.intra_op_num_threads = threads or _usable_cpus()
    options.inter_op_num_threads = 1
    # Threads that wait by spinning take CPU time from the worker's other tasks.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What goes wrong is raised; its own lines on stderr would be a second, worse report.
    options.log_severity_level = _FATAL_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public base
        raise EmbedderModelInvalid(
            f"Embedding model {str(path)!r} cannot be read: {_one_line(error)}", path=str(path)
        ) from error


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Places of the texts, texts of like length together, so that little padding is computed."""
    order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
