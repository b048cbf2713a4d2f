"""What an index is: a JSON-able value that a DAG file declares once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector import ids
from airflow_provider_mlops.vector.chunking import (
    EMBEDDER,
    Chunker,
    SizedChunker,
    WholeText,
    chunker_from_json,
    chunker_to_json,
)
from airflow_provider_mlops.vector.embedders import (
    Embedder,
    HashEmbedder,
    PrecomputedVectors,
    WeaviateModule,
    embedder_from_json,
    embedder_to_json,
)
from airflow_provider_mlops.vector.embedders.base import CountsTokens
from airflow_provider_mlops.vector.settings import WeaviateSettings
from airflow_provider_mlops.vector.stores import BACKENDS
from airflow_provider_mlops.vector.stores.base import FIXED_COLUMNS, Layout

#: Types of user properties: ``text`` is searched by words, ``keyword`` compared as a whole.
PROPERTY_TYPES: dict[str, type[Any] | tuple[type[Any], ...]] = {
    "text": str,
    "keyword": str,
    "int": int,
    "number": (int, float),
    "bool": bool,
}
#: Properties that the chunker fills in: where a chunk is in its document (characters), and its headings.
CHUNK_PROPERTIES: dict[str, tuple[str, ...]] = {
    "chunk_start": ("int",),
    "chunk_end": ("int",),
    "chunk_headings": ("text", "keyword"),
}
#: Version of the fixed columns; a new one makes every index be rebuilt.
_LAYOUT = 1
# Weaviate capitalises the first letter of every name by itself, so only such names mean the same everywhere.
_NAME = re.compile(r"[A-Z][A-Za-z0-9]{0,99}")
_PROPERTY = re.compile(r"[a-z][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of documents, searched by vector (and by words), under a stable name.

    :param name: what readers ask for: the alias in Weaviate, the table in LanceDB. A capital letter, then
        letters and digits.
    :param key: field of a source record that identifies the document.
    :param text: field that holds the document's text.
    :param embedder: turns texts into vectors.
    :param chunker: cuts texts into chunks.
    :param properties: further fields to keep with each chunk: name to ``text``, ``keyword``, ``int``,
        ``number`` or ``bool``. Values may be missing. Three names are filled in by the chunker, where they are
        wanted: ``chunk_start`` and ``chunk_end`` (``int``: the chunk is ``text[start:end]`` of its document) and
        ``chunk_headings`` (``text`` or ``keyword``: ``"Guide > Install"``, by ``MarkdownChunker``).
    :param backend: ``lancedb`` or ``weaviate``.
    :param conn_id: Airflow connection. Weaviate: default ``weaviate_default``. LanceDB: none by default.
    :param uri: LanceDB only: folder or object store location; default the connection's, or the folder
        ``vector`` below ``[mlops] artifacts``.
    :param tenant: field that names a document's tenant (a customer, a team), if searches must see one tenant's documents
        only: 1 to 64 letters, digits, ``-`` and ``_``. Tenants come with their first document, and one version holds
        all of them. Keys identify a document in the whole index; one that names another tenant moves there.
    :param vectors: further vectors of each chunk, by name: the ``text`` or ``keyword`` property that the embedder makes each
        of (``{"title": "title"}``). A chunk that lacks the property has no such vector.
    :param metric: how distance is measured: ``cosine``, ``dot`` or ``l2``.
    :param full_text: LanceDB only: keep a full-text index as well, for searches by words. Weaviate always has one.
        Switching it on builds the index anew.
    :param weaviate: Weaviate only: kind of vector index, compression, word search, copies.
    :param keep_versions: how many finished versions stay (at least 1); the live one always stays. Releases
        can be rolled back to a version as long as it is there.
    :raises InvalidArgument: one of these is not as said.
    """

    name: str
    key: str = "id"
    text: str = "text"
    embedder: Embedder = field(default_factory=HashEmbedder)
    chunker: Chunker = field(default_factory=WholeText)
    properties: Mapping[str, str] = field(default_factory=dict)
    backend: Literal["lancedb", "weaviate"] = "lancedb"
    conn_id: str | None = None
    uri: str | None = None
    tenant: str | None = None
    vectors: Mapping[str, str] = field(default_factory=dict)
    metric: Literal["cosine", "dot", "l2"] = "cosine"
    full_text: bool = False
    weaviate: WeaviateSettings | None = None
    keep_versions: int = 3

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise InvalidArgument(f"Index {self.name!r}: {problem}", next_step="Correct the VectorIndex.")

    def _problem(self) -> str | None:
        if not _NAME.fullmatch(self.name):
            return "the name must be a capital letter followed by up to 99 letters and digits"
        if self.backend not in BACKENDS:
            return f"unknown backend {self.backend!r}; there are {', '.join(BACKENDS)}"
        if self.metric not in ("cosine", "dot", "l2"):
            return f"unknown metric {self.metric!r}; there are cosine, dot, l2"
        if self.keep_versions < 1:
            return f"keep_versions is {self.keep_versions}, the least is 1"
        if self.uri and self.backend != "lancedb":
            return "uri is for LanceDB; Weaviate is reached through conn_id"
        if self.uri and "@" in urlsplit(self.uri).netloc and urlsplit(self.uri).password is not None:
            return "the uri holds credentials; put them into a connection"
        if self.full_text and self.backend != "lancedb":
            return "full_text is for LanceDB; Weaviate always keeps a full-text index"
        if self.weaviate is not None and self.backend != "weaviate":
            return f"settings for Weaviate, and the backend is {self.backend!r}"
        if isinstance(self.embedder, WeaviateModule) and self.backend != "weaviate":
            return f"{self.embedder.module} is a module of Weaviate, and the backend is {self.backend!r}"
        if isinstance(self.embedder, PrecomputedVectors) and not isinstance(self.chunker, WholeText):
            return "vectors from the source belong to whole documents; leave the chunker out"
        if isinstance(self.chunker, SizedChunker) and self.chunker.tokenizer == EMBEDDER:
            if not isinstance(self.embedder, CountsTokens):
                return f"the chunker's tokenizer is 'embedder', but {type(self.embedder).__name__} counts no tokens"
            if self.chunker.max_size > self.embedder.max_input_tokens:
                return (
                    f"chunks of {self.chunker.max_size} tokens are longer than the {self.embedder.max_input_tokens} "
                    "that the embedder reads"
                )
        if self.tenant is not None and (not self.tenant or "tenant" in self.properties):
            return "tenant names a field of the source, and no property is called 'tenant' beside it"
        if self.vectors and isinstance(self.embedder, PrecomputedVectors):
            return "vectors from the source are one per document; leave the named vectors out"
        for name, made_of in self.vectors.items():
            if not _PROPERTY.fullmatch(name) or name == "default":
                return f"vector name {name!r} is not possible (reserved, or not a lower-case word)"
            if self.properties.get(made_of) not in ("text", "keyword"):
                return f"vector {name!r} is made of {made_of!r}, which is no property of type text or keyword"
        for name, kind in self.properties.items():
            if kind not in PROPERTY_TYPES:
                return f"property {name!r} has type {kind!r}; there are {', '.join(PROPERTY_TYPES)}"
            if not _PROPERTY.fullmatch(name) or name in FIXED_COLUMNS:
                return f"property name {name!r} is not possible (reserved, or not a lower-case word)"
            if kind not in CHUNK_PROPERTIES.get(name, (kind,)):
                return f"property {name!r} is filled in by the chunker and has type {CHUNK_PROPERTIES[name][0]!r}"
        return None

    @property
    def connection(self) -> str | None:
        """The connection id in effect."""
        return self.conn_id or ("weaviate_default" if self.backend == "weaviate" else None)

    @property
    def keeps_words(self) -> bool:
        """Whether it can be searched by words."""
        return self.full_text or self.backend == "weaviate"

    @property
    def fields(self) -> frozenset[str]:
        """Fields of a source record that the index reads."""
        column = [self.embedder.column] if isinstance(self.embedder, PrecomputedVectors) else []
        own = (name for name in self.properties if name not in CHUNK_PROPERTIES)
        tenant = [self.tenant] if self.tenant else []
        return frozenset((self.key, self.text, *own, *column, *tenant))

    def layout(self) -> Layout:
        """What a store has to know to make an empty version."""
        module = self.embedder if isinstance(self.embedder, WeaviateModule) else None
        return Layout(
            self.embedder.dimension,
            self.metric,
            dict(self.properties),
            self.full_text,
            (module.module, dict(module.settings)) if module else None,
            self.weaviate or WeaviateSettings(),
            self.tenant is not None,
            dict(self.vectors),
        )

    def fingerprint(self) -> str:
        """Hash of all that makes old and new chunks comparable; when it changes, everything is built anew."""
        return ids.fingerprint(
            {
                "layout": _LAYOUT,
                "embedder": self.embedder.identity(),
                "chunker": self.chunker.identity(),
                "properties": dict(self.properties),
                "metric": self.metric,
                **({"tenants": True} if self.tenant else {}),
                **({"vectors": dict(self.vectors)} if self.vectors else {}),
                **({"weaviate": settings} if (settings := self._settings_identity()) else {}),
                # Only where it is on: without it the fingerprint is that of an index in Weaviate, which has it always.
                **({"full_text": True} if self.full_text else {}),
            }
        )

    def _settings_identity(self) -> dict[str, Any]:
        return self.weaviate.identity() if self.weaviate else {}

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which :meth:`from_json` makes an equal index."""
        return {
            "name": self.name,
            "key": self.key,
            "text": self.text,
            "embedder": embedder_to_json(self.embedder),
            "chunker": chunker_to_json(self.chunker),
            "properties": dict(self.properties),
            "backend": self.backend,
            "conn_id": self.conn_id,
            "uri": self.uri,
            "tenant": self.tenant,
            "vectors": dict(self.vectors),
            "metric": self.metric,
            "full_text": self.full_text,
            "weaviate": self.weaviate.to_json() if self.weaviate else None,
            "keep_versions": self.keep_versions,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> VectorIndex:
        """The reverse of :meth:`to_json`; what is left out has its default.

        :raises InvalidArgument: unknown or wrong fields.
        """
        arguments = dict(data)
        if "embedder" in arguments:
            arguments["embedder"] = embedder_from_json(arguments["embedder"])
        if "chunker" in arguments:
            arguments["chunker"] = chunker_from_json(arguments["chunker"])
        if arguments.get("weaviate") is not None:
            arguments["weaviate"] = WeaviateSettings.from_json(arguments["weaviate"])
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InvalidArgument(f"Index {data.get('name')!r}: {error}") from error
