"""Vectors made by the Weaviate server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.embedders.base import TextKind

if TYPE_CHECKING:
    import numpy as np

_NAME = re.compile(r"text2vec-[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class WeaviateModule:
    """Lets the Weaviate server make the vectors, of chunks and of queries, with one of its modules.

    Only the text goes to the module, neither properties nor names. What the server does costs no tokens here, is
    not cached, and its limits are the server's to keep; but vectors of an earlier version are copied, not made
    anew. Keys of the module's provider belong into the connection's ``additional_headers``.

    :param module: name of a module that the server has enabled, such as ``text2vec-transformers``.
    :param settings: of the module, as the server's documentation names them: ``{"model": "..."}``. No secrets.
    :param revision: changed by hand when the server runs another model under the same settings.
    :raises InvalidArgument: not a text module.
    """

    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.module):
            raise InvalidArgument(
                f"WeaviateModule: {self.module!r} is no module that makes vectors of texts",
                next_step="Its name begins with 'text2vec-'.",
            )

    @property
    def dimension(self) -> int:
        """0: only the server knows."""
        return 0

    def identity(self) -> Mapping[str, Any]:
        """Module, settings and revision."""
        return {
            "type": "weaviate_module",
            "module": self.module,
            "settings": dict(self.settings),
            "revision": self.revision,
        }

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> np.ndarray:
        """Never possible.

        :raises InvalidArgument: always; the server has no call for it.
        """
        raise InvalidArgument(
            f"The Weaviate server makes the vectors ({self.module}); texts are not embedded here"
        )
