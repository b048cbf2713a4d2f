"""``spec:inputs``: checking the given values and writing them into the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.specs import ConfigError

_BLOCK = re.compile(r"\$\[\[\s*((?:(?!\]\]).)+?)\s*\]\]")
_TRUNCATE = re.compile(r"truncate\(\s*(\d+)\s*,\s*(\d+)\s*\)")
MAX_INPUTS = 20


def _is_type(value: Any, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case _:
            raise ConfigError(f"header:spec:inputs type unknown value: {kind}")


def _coerce(value: Any, kind: str) -> Any:
    """Text forms of numbers, booleans and arrays count, since forms and variables can only carry text."""
    if kind == "string" or not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return parsed if _is_type(parsed, kind) else value


def resolve(spec: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``given`` against the header's ``spec`` and fill in the defaults.

    :raises ConfigError: with one message per wrong, missing or undeclared input.
    """
    declared = (spec or {}).get("inputs") or {} if isinstance(spec, Mapping) else {}
    problems: list[str] = []
    if len(given) > MAX_INPUTS:
        problems.append(f"Pipeline inputs cannot exceed the limit of {MAX_INPUTS}")
    unknown = [name for name in given if name not in declared]
    if unknown:
        problems.append(
            "Given inputs not defined in the `spec` section of the included configuration file: "
            + ", ".join(f"`{name}`" for name in unknown)
        )
    values: dict[str, Any] = {}
    for name, rules in declared.items():
        rules = rules or {}
        kind = rules.get("type", "string")
        if name in given:
            value = _coerce(given[name], kind)
        elif "default" in rules:
            value = rules["default"]
        else:
            problems.append(f"`{name}` input: required value has not been provided")
            continue
        if not _is_type(value, kind):
            problems.append(f"`{name}` input: provided value is not a{'n' if kind == 'array' else ''} {kind}")
        elif rules.get("options") and value not in rules["options"]:
            problems.append(
                f"`{name}` input: `{value}` cannot be used because it is not in the list of allowed options"
            )
        elif rules.get("regex") and not re.search(str(rules["regex"]).strip("/"), str(value)):
            problems.append(f"`{name}` input: provided value does not match required RegEx pattern")
        else:
            values[name] = value
    if problems:
        raise ConfigError(*problems)
    return values


def _text(value: Any) -> str:
    if isinstance(value, bool | list):
        return json.dumps(value)
    return str(value)


def interpolate(tree: Any, inputs: Mapping[str, Any], variables: Mapping[str, str]) -> Any:
    """Replace every ``$[[ inputs.name ]]``; a value that is nothing else keeps the input's type."""

    def lookup(block: str) -> Any:
        access, *functions = [part.strip() for part in block.split("|")]
        if not access.startswith("inputs."):
            raise ConfigError(f"unknown interpolation key: `{access}`")
        name = access.removeprefix("inputs.")
        if name not in inputs:
            raise ConfigError(f"unknown interpolation provided: `{name}` in `$[[ {block} ]]`")
        value = inputs[name]
        for function in functions:
            if function == "expand_vars":
                value = expand(_text(value), variables)
            elif match := _TRUNCATE.fullmatch(function):
                value = _text(value)[int(match[1]) : int(match[1]) + int(match[2])]
            else:
                raise ConfigError(
                    f"no function matching `{function}`: check that the function name, arguments, and types are correct"
                )
        return value

    def walk(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {walk(key): walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, str) or "$[[" not in node:
            return node
        if whole := _BLOCK.fullmatch(node.strip()):
            return lookup(whole[1])
        return _BLOCK.sub(lambda match: _text(lookup(match[1])), node)

    return walk(tree)
