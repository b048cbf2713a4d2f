"""A sentence embedding model in ONNX form, run by onnxruntime without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders.onnx_files import (
    TOKENIZER,
    check_file_name,
    content_hash,
    model_files,
)
from airflow_provider_mlops.vector.tokens import token_counter

if TYPE_CHECKING:
    import numpy as np

    from airflow_provider_mlops.vector.embedders.onnx_model import OnnxModel


@dataclass(frozen=True, slots=True)
class OnnxEmbedder:
    """Embeds with a model of your own: mean pooling over its hidden states, normalised to length 1.

    Needs the extra ``onnx`` and a folder with ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``, as
    exporters of sentence embedding models write it. Nothing is asked from a model hub. What the model *is*, for
    the index, is the hash of its files: another place or name changes nothing, another model builds the index
    anew.

    :param model: folder or URI (``file://`` or any scheme of an object store; fetched once to the worker's
        cache), or a plain name such as ``all-MiniLM-L6-v2``: that folder below ``models`` below ``[mlops]
        artifacts``. URIs and names are for Airflow; a service gives a folder of its own disk.
    :param file: the model inside the folder, such as ``onnx/model_quantized.onnx``; default as above.
    :param max_tokens: longer texts are cut; 3 to what the model has positions for (usually 512).
    :param query_prefix: put before every query; some models want ``"query: "``. It is no part of the identity:
        no stored vector depends on it.
    :param passage_prefix: put before every indexed text.
    :param batch_size: texts per run of the model.
    :param threads: of onnxruntime; default: as many as the process may use CPUs.
    :raises InvalidArgument: one of these is not as said.
    """

    model: str
    file: str | None = None
    max_tokens: int = 256
    query_prefix: str = ""
    passage_prefix: str = ""
    batch_size: int = 32
    threads: int | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.model)
        if not self.model or ".." in PurePosixPath(parts.path).parts:
            raise InvalidArgument(
                f"OnnxEmbedder: model {self.model!r}",
                next_step="Give the model's folder, URI or name, without '..'.",
            )
        if parts.password is not None:
            raise InvalidArgument(
                "OnnxEmbedder: the model's URI holds credentials", next_step="Put them into a connection."
            )
        if self.file is not None:
            check_file_name(self.file)
        for name, value, least in (
            ("max_tokens", self.max_tokens, 3),
            ("batch_size", self.batch_size, 1),
            ("threads", self.threads, 1),
        ):
            if value is not None and value < least:
                raise InvalidArgument(f"OnnxEmbedder: {name} is {value}, the least is {least}")

    @property
    def dimension(self) -> int:
        """Length of the vectors, as the model says; loads it.

        :raises ExtraMissing, EmbedderModelMissing, EmbedderModelInvalid: it cannot be used.
        """
        return self._load().dimension

    def identity(self) -> Mapping[str, Any]:
        """Hash of the model and its tokenizer, and what is done to texts and hidden states.

        :raises EmbedderModelMissing: they are not there.
        """
        folder = self._folder()
        return {
            "type": "onnx",
            "version": 1,
            "content": content_hash(folder, model_files(folder, self.file)),
            "pooling": "mean",
            "normalised": True,
            "max_tokens": self.max_tokens,
            "passage_prefix": self.passage_prefix,
        }

    @property
    def max_input_tokens(self) -> int:
        """Where texts are cut."""
        return self.max_tokens

    def count_tokens(self, texts: Sequence[str], kind: str = "passage") -> list[int]:
        """Tokens of each text with its prefix, as if none were cut.

        :raises ExtraMissing: the extra ``onnx`` is not installed.
        :raises InvalidArgument: the tokenizer cannot be read.
        """
        prefix = self.query_prefix if kind == "query" else self.passage_prefix
        count = token_counter(str(self._folder() / TOKENIZER))
        return count([prefix + text for text in texts])

    def embed(self, texts: Sequence[str], kind: str = "passage") -> np.ndarray:
        """Unit vectors of passages or queries, each with its prefix.

        :raises ExtraMissing, EmbedderModelMissing, EmbedderModelInvalid: the model cannot be used.
        """
        prefix = self.query_prefix if kind == "query" else self.passage_prefix
        return self._load().embed([prefix + text for text in texts], self.batch_size)

    def _folder(self) -> Path:
        folder = Path(self.model)
        if not folder.is_absolute():
            raise InvalidArgument(
                f"OnnxEmbedder: {self.model!r} is not a folder of this disk",
                next_step="Outside of Airflow, give the absolute path of the model's folder.",
            )
        return folder

    def _load(self) -> OnnxModel:
        from airflow_provider_mlops.vector.embedders.onnx_model import load_model

        folder = self._folder()
        files = model_files(folder, self.file)
        return load_model(folder, files["model"], content_hash(folder, files), self.max_tokens, self.threads)
