"""``spec:inputs``: checking the given values and writing them into the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.testing.gitlab import ci_rules
from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.specs import ConfigError

_BLOCK = re.compile(r"\$\[\[\s*((?:(?!\]\]).)+?)\s*\]\]")
_TRUNCATE = re.compile(r"truncate\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_INDEX = re.compile(r"([\w-]+)((?:\[\d+\])*)")
_INPUT = re.compile(r"\$\[\[\s*inputs\.([\w-]+)\s*\]\]")
MAX_INPUTS = 20
MAX_BLOCK = 1024
MAX_TEXT = 1024 * 1024
MAX_FUNCTIONS = 3


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


def _allowed(rules: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """An input's options and default: its own, or those of the first of its ``rules`` that holds."""
    for rule in rules.get("rules") or ():
        expression = _INPUT.sub(lambda match: f"$input_{match[1].replace('-', '_')}", str(rule.get("if", "")))
        known = {f"input_{name.replace('-', '_')}": _text(value) for name, value in values.items()}
        if "if" not in rule or ci_rules.holds(expression, known):
            return {**rules, **{key: rule[key] for key in ("options", "default") if key in rule}}
    return rules


def _problem(name: str, value: Any, rules: Mapping[str, Any], origin: str) -> str | None:
    kind = rules.get("type", "string")
    options, pattern = rules.get("options"), rules.get("regex")
    if not _is_type(value, kind):
        return f"`{name}` input: {origin} value is not a{'n' if kind == 'array' else ''} {kind}"
    wrong = [item for item in (value if kind == "array" else [value]) if options and item not in options]
    if wrong:
        return f"`{name}` input: `{wrong[0]}` cannot be used because it is not in the list of allowed options"
    if pattern and not re.search(_bare(str(pattern)), str(value)):
        return f"`{name}` input: {origin} value does not match required RegEx pattern"
    return None


def _bare(pattern: str) -> str:
    return (
        pattern[1:-1] if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/") else pattern
    )


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
    for name, own in declared.items():
        rules = _allowed(own or {}, values)
        if name in given:
            value, origin = _coerce(given[name], rules.get("type", "string")), "provided"
        elif "default" in rules:
            value, origin = rules["default"], "default"
        else:
            problems.append(f"`{name}` input: required value has not been provided")
            continue
        problem = _problem(name, value, rules, origin)
        if problem:
            problems.append(problem)
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
        if len(block) > MAX_BLOCK:
            raise ConfigError(f"interpolation block is longer than {MAX_BLOCK} bytes")
        access, *functions = [part.strip() for part in block.split("|")]
        if not access.startswith("inputs."):
            raise ConfigError(f"unknown interpolation key: `{access}`")
        if len(functions) > MAX_FUNCTIONS:
            raise ConfigError("too many functions in interpolation block")
        match = _INDEX.fullmatch(access.removeprefix("inputs."))
        if match is None or match[1] not in inputs:
            name = access.removeprefix("inputs.")
            raise ConfigError(f"unknown interpolation provided: `{name}` in `$[[ {block} ]]`")
        value = inputs[match[1]]
        for index in re.findall(r"\d+", match[2]):
            if not isinstance(value, list) or int(index) >= len(value):
                raise ConfigError(f"array index {index} is out of bounds in `$[[ {block} ]]`")
            value = value[int(index)]
        for function in functions:
            if function == "expand_vars":
                value = expand(_text(value), variables)
            elif cut := _TRUNCATE.fullmatch(function):
                value = _text(value)[int(cut[1]) : int(cut[1]) + int(cut[2])]
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
        if len(node) > MAX_TEXT:
            raise ConfigError(f"string with interpolation is longer than {MAX_TEXT} bytes")
        if whole := _BLOCK.fullmatch(node.strip()):
            return lookup(whole[1])
        return _BLOCK.sub(lambda match: _text(lookup(match[1])), node)

    return walk(tree)
