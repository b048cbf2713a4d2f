"""Named outputs of a pipeline: values from artifact files, one top-level payload key each. Pure.

An output is written ``"job:path"`` or ``"job:path#/json/pointer"``:

* ``publish:image.json``: the whole JSON file as a value;
* ``publish:image.json#/digest``: a value inside it (RFC 6901);
* ``build:build.env``: a dotenv file as an object of texts; ``build:build.env#/TAG``: one of them;
* ``test:summary.txt``: any other small file as text, without the line break at its end;
* ``deploy > publish:image.json``: a file of job ``publish`` in the pipeline that trigger job ``deploy`` has started.

A job name may hold colons (``build:linux:image.json`` is job ``build:linux``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_mlops.external_job.adapter import Json
from airflow_provider_mlops.gitlab.errors import OutputInvalid, OutputMissing, OutputUnreadable
from airflow_provider_mlops.payloads import GitlabPipelinePayload

#: Bytes that an output file may have.
MAX_FILE = 1 << 20

#: Bytes that an output value may have as JSON: XComs are kept in the metadata database.
MAX_VALUE = 48 * 1024

#: Keys of the payload itself.
RESERVED = frozenset(GitlabPipelinePayload.__annotations__) | {"return_value"}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_ENV_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Output:
    """Where one output comes from.

    :param name: payload key.
    :param job: name of the job that keeps the file.
    :param path: path inside the job's artifacts.
    :param pointer: JSON pointer into the file; empty for the whole.
    """

    name: str
    job: str
    path: str
    pointer: str = ""

    @classmethod
    def parse(cls, name: str, source: object) -> Output:
        """Read one entry of ``outputs``.

        :raises OutputInvalid: malformed, or ``name`` is a key of the payload itself.
        """
        if name in RESERVED:
            raise OutputInvalid(
                f"outputs: {name!r} is a key of every pipeline's payload", next_step="Choose another name."
            )
        if not _NAME.match(name):
            raise OutputInvalid(f"outputs: {name!r} is no name for an XCom (letters, digits, _ . -)")
        address, _, pointer = source.partition("#") if isinstance(source, str) else ("", "", "")
        job, _, path = address.rpartition(":")
        if not job or not path or path.startswith("/") or ".." in path.split("/"):
            raise OutputInvalid(
                f"outputs[{name!r}]: {source!r} is not 'job:path' or 'job:path#/pointer'",
                next_step="Example: 'publish:image.json#/digest'.",
            )
        if pointer and not pointer.startswith("/"):
            raise OutputInvalid(f"outputs[{name!r}]: the JSON pointer {pointer!r} has to start with '/'")
        return cls(name, job, path, pointer)

    @property
    def is_dotenv(self) -> bool:
        """Whether the file holds ``NAME=value`` lines, by its ending."""
        return self.path.rsplit("/", 1)[-1].endswith(".env")

    @property
    def is_json(self) -> bool:
        """Whether the file is JSON, by its ending."""
        return self.path.endswith(".json")

    def __str__(self) -> str:
        return f"{self.job}:{self.path}" + (f"#{self.pointer}" if self.pointer else "")


def parse_outputs(outputs: Mapping[str, str] | None) -> tuple[Output, ...]:
    """All entries of ``outputs``.

    :raises OutputInvalid: one of them is malformed.
    """
    return tuple(Output.parse(name, source) for name, source in (outputs or {}).items())


def find_job(output: Output, names: Collection[str]) -> str:
    """The name, among ``names``, of the job that keeps the output's file.

    :param names: the pipeline's jobs; those of downstream pipelines stand behind their trigger jobs.
    :raises OutputMissing: no job of that name ran.
    """
    for name in (output.job, " > ".join(part.strip() for part in output.job.split(">"))):
        if name in names:
            return name
    known = ", ".join(sorted(names)[:20]) or "none"
    below = " Pipelines that their trigger job does not wait for (strategy: depend) are not looked at."
    raise OutputMissing(
        f"Output {output.name!r} ({output}): the pipeline has no job {output.job!r}; its jobs are: {known}",
        next_step="Check the job's name and its rules." + (below if ">" in output.job else ""),
    )


def read_value(output: Output, content: bytes) -> Json:
    """The output's value, from its file.

    :raises OutputUnreadable: not of the expected format, or too large.
    :raises OutputMissing: the file has nothing at the JSON pointer.
    """
    label = f"Output {output.name!r} ({output})"
    if len(content) > MAX_FILE:
        raise OutputUnreadable(f"{label}: the file is larger than {MAX_FILE} bytes", next_step=_BY_URI)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OutputUnreadable(f"{label}: the file is not UTF-8 text", next_step=_BY_URI) from error
    value: Json
    if output.is_dotenv:
        value = _dotenv(text, label)
    elif output.is_json or output.pointer:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise OutputUnreadable(f"{label}: the file is not JSON: {error}") from error
    else:
        value = text.removesuffix("\n").removesuffix("\r")
    value = _at(value, output.pointer, label)
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_VALUE:
        raise OutputUnreadable(
            f"{label}: the value is larger than {MAX_VALUE} bytes, which an XCom may have", next_step=_BY_URI
        )
    return value


_BY_URI = "Let the job store large results elsewhere and hand on their URI."


def _dotenv(text: str, label: str) -> dict[str, Json]:
    values: dict[str, Json] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        key, equals, value = line.partition("=")
        if not equals or not _ENV_KEY.match(key.strip()):
            raise OutputUnreadable(f"{label}: line {number} is not NAME=value")
        values[key.strip()] = value
    return values


def _at(value: Json, pointer: str, label: str) -> Json:
    for token in pointer.split("/")[1:]:
        step = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, Sequence) and not isinstance(value, str) and _is_index(step, len(value)):
            value = value[int(step)]
        else:
            raise OutputMissing(
                f"{label}: the file has nothing at {pointer!r} (no {step!r}); there {_what_is_there(value)}",
                next_step="Correct the pointer, or what the job writes into the file.",
            )
    return value


def _what_is_there(value: Json) -> str:
    """Names, not values: they may be long, or secret."""
    if isinstance(value, Mapping):
        return f"are: {', '.join(map(repr, sorted(value)[:20]))}" if value else "is an empty object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"is a list of {len(value)}"
    return f"is a value of type {type(value).__name__}"


def _is_index(step: str, length: int) -> bool:
    return step.isascii() and step.isdigit() and str(int(step)) == step and int(step) < length
