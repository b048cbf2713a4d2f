"""Reading ``.gitlab-ci.yml``: documents, ``include``, ``!reference``, ``extends`` and ``default``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from airflow_provider_mlops.testing.gitlab import ci_inputs
from airflow_provider_mlops.testing.gitlab.specs import ConfigError

GLOBAL_KEYWORDS = frozenset(
    [
        "default",
        "include",
        "stages",
        "variables",
        "workflow",
        "spec",
        "image",
        "services",
        "before_script",
        "after_script",
        "cache",
    ]
)
INHERITED = (
    "before_script",
    "after_script",
    "artifacts",
    "retry",
    "timeout",
    "interruptible",
    "tags",
    "image",
)
_MAX_DEPTH = 11


@dataclass(frozen=True)
class _Reference:
    path: tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML with GitLab's one tag of its own."""


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError("!reference needs an array")
    return _Reference(tuple(str(part) for part in loader.construct_sequence(node)))


_Loader.add_constructor("!reference", _reference)


def _documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ConfigError(f"Invalid configuration format: {' '.join(str(error).split())}") from error
    header: dict[str, Any] = {}
    if len(documents) > 1 and isinstance(documents[0], dict) and "spec" in documents[0]:
        header = documents.pop(0)
    body = documents[0] if documents else None
    if not isinstance(body, dict):
        raise ConfigError("Please provide content of .gitlab-ci.yml")
    return header, body


def _deep_merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        mine = merged.get(key)
        merged[key] = (
            _deep_merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
        )
    return merged


def _included(body: dict[str, Any], read: Callable[[str], str | None], depth: int = 0) -> dict[str, Any]:
    entries = body.pop("include", None)
    if not entries:
        return body
    merged: dict[str, Any] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        path = entry if isinstance(entry, str) else entry.get("local") if isinstance(entry, dict) else None
        if not path or "://" in path:
            raise ConfigError("The stand-in can only include local files")
        text = read(path.lstrip("/"))
        if text is None or depth >= _MAX_DEPTH:
            raise ConfigError(f"Local file `{path}` does not exist!")
        header, inner = _documents(text)
        given = entry.get("inputs", {}) if isinstance(entry, dict) else {}
        values = ci_inputs.resolve(header.get("spec"), given)
        inner = ci_inputs.interpolate(inner, values, {})
        merged = _deep_merge(merged, _included(inner, read, depth + 1))
    return _deep_merge(merged, body)


def _dereferenced(node: Any, tree: Mapping[str, Any], depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise ConfigError("!reference nesting is too deep")
    if isinstance(node, _Reference):
        target: Any = tree
        for part in node.path:
            if not isinstance(target, Mapping) or part not in target:
                raise ConfigError(f"!reference {list(node.path)} could not be found")
            target = target[part]
        return _dereferenced(target, tree, depth + 1)
    if isinstance(node, dict):
        return {key: _dereferenced(value, tree, depth) for key, value in node.items()}
    if isinstance(node, list):
        items: list[Any] = []
        for item in node:
            value = _dereferenced(item, tree, depth)
            items.extend(value if isinstance(item, _Reference) and isinstance(value, list) else [value])
        return items
    return node


def _extended(name: str, tree: Mapping[str, Any], trail: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in trail or len(trail) > _MAX_DEPTH:
        raise ConfigError(f"{trail[0]}: circular dependency detected in `extends`")
    job = tree.get(name)
    if not isinstance(job, dict):
        raise ConfigError(
            f"{trail[-1]}: unknown keys in `extends` ({name})"
            if trail
            else f"jobs:{name} config should be a hash"
        )
    parents = job.get("extends", [])
    merged: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        merged = _deep_merge(merged, _extended(parent, tree, (*trail, name)))
    return _deep_merge(merged, {key: value for key, value in job.items() if key != "extends"})


@dataclass(frozen=True)
class CiTree:
    """A configuration with nothing left to look up: top-level keywords, and jobs with their defaults."""

    top: Mapping[str, Any]
    jobs: Mapping[str, Mapping[str, Any]]


def load(
    text: str,
    *,
    inputs: Mapping[str, Any],
    variables: Mapping[str, str],
    read: Callable[[str], str | None],
) -> CiTree:
    """Resolve a configuration.

    :param inputs: Values for ``spec:inputs``.
    :param variables: Known variables, for ``$[[ inputs.x | expand_vars ]]``.
    :param read: Gives a repository file's text at the pipeline's commit, None when it is not there.
    :raises ConfigError: the configuration or the inputs are wrong.
    """
    header, body = _documents(text)
    values = ci_inputs.resolve(header.get("spec"), inputs)
    body = _included(ci_inputs.interpolate(body, values, variables), read)
    body = _dereferenced(body, body)
    default = body.get("default") or {}
    shared = {key: body[key] for key in INHERITED if key in body} | {
        key: default[key] for key in INHERITED if key in default
    }
    jobs: dict[str, Mapping[str, Any]] = {}
    for name in body:
        if name in GLOBAL_KEYWORDS or str(name).startswith("."):
            continue
        job = _extended(name, body)
        inherit = (job.get("inherit") or {}).get("default", True)
        keys = shared if inherit is True else () if inherit is False else inherit
        jobs[str(name)] = {**{key: shared[key] for key in keys if key in shared}, **job}
    return CiTree(top={key: body[key] for key in GLOBAL_KEYWORDS if key in body}, jobs=jobs)
