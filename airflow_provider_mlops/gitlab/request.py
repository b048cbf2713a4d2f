"""What is asked of GitLab when a pipeline is started. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.external_job.adapter import Json
from airflow_provider_mlops.gitlab.access import project_path
from airflow_provider_mlops.gitlab.job_key import KEY_VARIABLE

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MAX_INPUTS = 20


@dataclass(frozen=True, slots=True)
class PipelineRequest:
    """One pipeline to start.

    :param project: number or full path.
    :param ref: branch or tag.
    :param inputs: values for ``spec:inputs``.
    :param variables: name, value and type (``env_var`` or ``file``), as GitLab takes them.
    :param secret_variables: variable name to the Airflow connection whose password is its value.
    :param use_trigger_token: start with the connection's trigger token.
    :param key_input: declared input that takes the job key; ``workflow:name`` has to show it.
    """

    project: str | int
    ref: str
    inputs: Mapping[str, Json] = field(default_factory=dict)
    variables: Sequence[Mapping[str, str]] = ()
    secret_variables: Mapping[str, str] = field(default_factory=dict)
    use_trigger_token: bool = False
    key_input: str | None = None

    @property
    def source(self) -> str:
        """What GitLab will call the pipeline's source."""
        return "trigger" if self.use_trigger_token else "api"

    @property
    def sends_variables(self) -> bool:
        """Whether the author sends variables of their own."""
        return bool(self.variables or self.secret_variables)

    def to_json(self) -> dict[str, Json]:
        """The request as a JSON object, without any secret."""
        return {
            "project": self.project,
            "ref": self.ref,
            "inputs": dict(self.inputs),
            "variables": [dict(variable) for variable in self.variables],
            "secret_variables": dict(self.secret_variables),
            "use_trigger_token": self.use_trigger_token,
            "key_input": self.key_input,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The reverse of :meth:`to_json`."""
        return cls(**data)

    @classmethod
    def checked(
        cls,
        *,
        project: str | int,
        ref: str = "main",
        inputs: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        file_variables: Mapping[str, str] | None = None,
        secret_variables: Mapping[str, str] | None = None,
        use_trigger_token: bool = False,
        key_input: str | None = None,
    ) -> Self:
        """Check what the author gave, before anything is sent.

        :raises InvalidArgument: a name or value that GitLab cannot take.
        """
        project_path(project)
        if not ref:
            raise InvalidArgument(f"ref {ref!r} names no branch or tag")
        given = dict(inputs or {})
        if len(given) + bool(key_input) > _MAX_INPUTS:
            raise InvalidArgument(
                f"inputs: {len(given)} given, GitLab takes at most {_MAX_INPUTS}, the job key included"
            )
        if key_input and key_input in given:
            raise InvalidArgument(f"inputs: {key_input!r} is the input that takes the job key")
        plain, files, secret = dict(variables or {}), dict(file_variables or {}), dict(secret_variables or {})
        names = [*plain, *files, *secret]
        for name in names:
            if not _VARIABLE_NAME.match(name):
                raise InvalidArgument(f"variables: {name!r} is no name for a variable")
            if name == KEY_VARIABLE:
                raise InvalidArgument(f"variables: {KEY_VARIABLE} is the variable that takes the job key")
            if names.count(name) > 1:
                raise InvalidArgument(
                    f"variables: {name!r} is given twice (variables, file_variables, secret_variables)"
                )
        if files and use_trigger_token:
            raise InvalidArgument(
                f"file_variables: a trigger token cannot send files ({', '.join(files)})",
                next_step="Use the connection's access token (use_trigger_token=False).",
            )
        return cls(
            project=project,
            ref=ref,
            inputs={name: json_value(f"inputs[{name!r}]", value) for name, value in given.items()},
            variables=[
                *(_variable(name, value, "env_var") for name, value in plain.items()),
                *(_variable(name, value, "file") for name, value in files.items()),
            ],
            secret_variables=secret,
            use_trigger_token=use_trigger_token,
            key_input=key_input,
        )


def json_value(label: str, value: Any) -> Json:
    """The value of an input, as GitLab takes it.

    :param label: names it in messages.
    :raises InvalidArgument: an object, ``None``, or nothing that JSON knows.
    """
    try:
        decoded: Json = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{label}: {type(value).__name__} is not a JSON value ({error})") from error
    if decoded is None or isinstance(decoded, dict):
        raise InvalidArgument(
            f"{label}: an input is a text, number, boolean or list, not {type(value).__name__}",
            next_step="Pass one field of it, such as task.output['uri'].",
        )
    return decoded


def _variable(name: str, value: Any, variable_type: str) -> dict[str, str]:
    return {"key": name, "value": variable_text(name, value), "variable_type": variable_type}


def variable_text(name: str, value: Any) -> str:
    """A variable's value as the text that GitLab takes: booleans as ``true``/``false``, collections as JSON.

    :raises InvalidArgument: ``None``, or nothing that JSON knows.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidArgument(
            f"variables[{name!r}] is None", next_step="Leave it out, or pass an empty text."
        )
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"variables[{name!r}]: {type(value).__name__} has no text form ({error})"
        ) from error
