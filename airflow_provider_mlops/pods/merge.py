"""Keyed merge of pod fragments: plain dicts as in Kubernetes YAML, with a record of who set what.

A fragment is taken apart into its leaves: ``spec.containers[base].env[CKPT_DIR].value = ...``. Merging is
the union of leaves, so its result depends neither on grouping nor, apart from the order of containers and
variables, on order; the same leaf with two values is a conflict and nothing is ever dropped in silence.

* Lists of named things are matched by their key (:data:`KEYS`), lists that mean a set are united
  (:data:`SETS`), node selector terms are combined so that all must hold, any other list is one value.
* ``False``, ``0`` and ``""`` are values. ``None`` means "says nothing".
* :data:`UNSET` takes a field away, whoever sets it, before or after; a list item is taken away as in a
  strategic merge patch, with ``{"name": ..., "$patch": "delete"}``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_mlops.pods.errors import RecipeConflict, RecipeInvalid


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


#: Takes the field away that it is the value of.
UNSET: Final = _Unset()

ITEM = "*"
_CONTAINER = {
    ("env",): ("name",),
    ("volumeMounts",): ("mountPath",),
    ("volumeDevices",): ("devicePath",),
    ("ports",): ("containerPort", "protocol"),
    ("resources", "claims"): ("name", "request"),
}
#: Lists whose items have an identity: path to the fields that make it.
KEYS: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("spec", "containers"): ("name",),
    ("spec", "initContainers"): ("name",),
    ("spec", "volumes"): ("name",),
    ("spec", "tolerations"): ("key", "operator", "value", "effect"),
    ("spec", "imagePullSecrets"): ("name",),
    ("spec", "resourceClaims"): ("name",),
    ("spec", "hostAliases"): ("ip",),
    ("spec", "readinessGates"): ("conditionType",),
    ("spec", "schedulingGates"): ("name",),
    ("spec", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
    ("spec", "securityContext", "sysctls"): ("name",),
    ("metadata", "ownerReferences"): ("uid",),
    **{
        ("spec", kind, ITEM, *path): fields
        for kind in ("containers", "initContainers")
        for path, fields in _CONTAINER.items()
    },
}
#: Lists whose order says something, so it is kept as first met; the other keyed lists are sorted.
ORDERED: Final = frozenset({"containers", "initContainers", "env"})
_AFFINITY = ("spec", "affinity")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
#: Lists that mean a set: every item of every fragment counts.
SETS: Final = frozenset(
    {
        ("metadata", "finalizers"),
        ("spec", "securityContext", "supplementalGroups"),
        *((*_AFFINITY, kind, _PREFERRED) for kind in ("nodeAffinity", "podAffinity", "podAntiAffinity")),
        *((*_AFFINITY, kind, _REQUIRED) for kind in ("podAffinity", "podAntiAffinity")),
        *(("spec", kind, ITEM, "envFrom") for kind in ("containers", "initContainers")),
        *(
            ("spec", kind, ITEM, "securityContext", "capabilities", word)
            for kind in ("containers", "initContainers")
            for word in ("add", "drop")
        ),
    }
)
#: Alternatives of which one must hold: those of different fragments must hold together.
TERMS: Final = (*_AFFINITY, "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
#: Things that take one source only: path to the fields beside it.
ONE_OF: Final[Mapping[tuple[str, ...], frozenset[str]]] = {
    ("spec", "volumes"): frozenset({"name"}),
    **{("spec", kind, ITEM, "env"): frozenset({"name"}) for kind in ("containers", "initContainers")},
}
LISTS: Final = frozenset({*KEYS, *SETS, TERMS})
#: What Kubernetes takes for a field of a key that is not said.
DEFAULTS: Final[Mapping[str, str]] = {"protocol": "TCP", "operator": "Equal"}
BASE: Final = "base"


@dataclass(frozen=True)
class Item:
    """One item of a keyed list, in a path."""

    key: tuple[object, ...]

    def __str__(self) -> str:
        return f"[{':'.join('' if part is None else str(part) for part in self.key)}]"


@dataclass(frozen=True)
class Member:
    """One member of a list that means a set, by its JSON."""

    text: str

    def __str__(self) -> str:
        return f"[{self.text}]"


Path = tuple[str | Item | Member, ...]


@dataclass(frozen=True)
class Leaf:
    """A value, and the names of those who set it."""

    value: object
    sources: tuple[str, ...]


@dataclass(frozen=True)
class _Empty:
    """Marks a map or list that is there, whether or not something is in it."""

    kind: type


@dataclass(frozen=True)
class _Whole:
    """A list that is one value, by its JSON: hashable, and 1 differs from True."""

    text: str

    def __repr__(self) -> str:
        return self.text


Tree = Mapping[Path, Leaf]


def show(path: Path) -> str:
    """A path as people write it: ``spec.containers[base].image``."""
    return "".join(f".{part}" if isinstance(part, str) else str(part) for part in path).lstrip(".")


def shape(path: Path) -> tuple[str, ...]:
    """A path with list items made anonymous, to look it up in the tables above."""
    return tuple(part if isinstance(part, str) else ITEM for part in path)


def take_apart(fragment: Mapping[str, Any], source: str) -> Tree:
    """The leaves of one fragment.

    :param source: who says so, for conflicts and for :func:`explain`.
    :raises RecipeInvalid: an item of a keyed list has no key, or a value is not JSON-like.
    :raises RecipeConflict: the fragment contradicts itself.
    """
    return merge(*({path: Leaf(value, (source,))} for path, value in _leaves((), fragment, source)))


def _leaves(path: Path, value: object, source: str) -> Iterator[tuple[Path, object]]:
    if value is None:
        return
    if shape(path) in LISTS and not isinstance(value, (list, tuple, _Unset)):
        raise RecipeInvalid(f"{source}: {show(path)} is {value!r}, not a list")
    if isinstance(value, Mapping):
        yield path, _Empty(dict)
        for name, inner in value.items():
            if not isinstance(name, str):
                raise RecipeInvalid(
                    f"{source}: {show(path) or 'the fragment'} has the key {name!r}, not a string"
                )
            yield from _leaves((*path, name), inner, source)
    elif isinstance(value, (list, tuple)):
        yield from _list_leaves(path, value, source)
    elif isinstance(value, (str, bool, int, float, _Unset)):
        yield path, value
    else:
        raise RecipeInvalid(
            f"{source}: {show(path)} is a {type(value).__name__}; fragments are plain YAML values"
        )


def _list_leaves(path: Path, items: Sequence[object], source: str) -> Iterator[tuple[Path, object]]:
    place = shape(path)
    if place == TERMS:
        yield (*path, Member(_text(items, path, source))), _Empty(list)
    elif place in SETS:
        yield path, _Empty(list)
        for item in items:
            yield (*path, Member(_text(item, path, source))), _Empty(list)
    elif place in KEYS:
        yield path, _Empty(list)
        for item in items:
            if not isinstance(item, Mapping):
                raise RecipeInvalid(f"{source}: {show(path)} holds {item!r}, not a map")
            key = Item(tuple(item.get(field, DEFAULTS.get(field)) for field in KEYS[place]))
            if not all(isinstance(part, (str, int, type(None))) for part in key.key):
                raise RecipeInvalid(f"{source}: {show(path)}{key} has a key that is not a string")
            # A toleration without a key is for every taint.
            if key.key[0] is None and place != ("spec", "tolerations"):
                raise RecipeInvalid(f"{source}: an item of {show(path)} has no {KEYS[place][0]}")
            if item.get("$patch") == "delete":
                yield (*path, key), UNSET
            else:
                yield from _leaves((*path, key), item, source)
    else:
        yield path, _Whole(_text(items, path, source))


def _text(value: object, path: Path, source: str) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise RecipeInvalid(f"{source}: {show(path)}: {error}; fragments are plain YAML values") from error


def merge(*trees: Tree) -> Tree:
    """Unite trees: associative, idempotent, and commutative but for the order of ordered lists.

    :raises RecipeConflict: a field has two values, or a volume or variable two sources.
    """
    leaves = [pair for tree in trees for pair in tree.items()]
    gone = {path for path, leaf in leaves if leaf.value is UNSET}
    merged: dict[Path, Leaf] = {}
    for path, leaf in leaves:
        if _below(path, gone) or (path in gone and leaf.value is not UNSET):
            continue
        known = merged.setdefault(path, leaf)
        if not _same(known.value, leaf.value):
            raise _conflict(path, known, leaf)
        merged[path] = Leaf(leaf.value, tuple(dict.fromkeys((*known.sources, *leaf.sources))))
    _refuse_two_kinds(merged)
    _refuse_two_sources(merged)
    return merged


def _below(path: Path, gone: Set[Path]) -> bool:
    return any(path[:length] in gone for length in range(len(path)))


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def _conflict(path: Path, one: Leaf, other: Leaf) -> RecipeConflict:
    return RecipeConflict(
        f"{show(path)} is {_said(one)} by {_named(one)} and {_said(other)} by {_named(other)}",
        field=show(path),
        sources=[*one.sources, *other.sources],
    )


def _said(leaf: Leaf) -> str:
    return f"a {leaf.value.kind.__name__}" if isinstance(leaf.value, _Empty) else repr(leaf.value)


def _named(leaf: Leaf) -> str:
    return ", ".join(leaf.sources)


def _refuse_two_kinds(tree: Tree) -> None:
    """A map of one fragment must not be a plain value of another."""
    for path, leaf in tree.items():
        parent = tree.get(path[:-1]) if path else None
        if parent is not None and not isinstance(parent.value, (_Empty, _Unset)):
            raise _conflict(path[:-1], parent, leaf)


def _refuse_two_sources(tree: Tree) -> None:
    first: dict[Path, tuple[Path, Leaf]] = {}
    for path, leaf in tree.items():
        beside = ONE_OF.get(shape(path[:-2])) if len(path) > 2 else None
        if beside is None or path[-1] in beside or leaf.value is UNSET:
            continue
        known_path, known = first.setdefault(path[:-1], (path, leaf))
        if known_path != path:
            raise RecipeConflict(
                f"{show(path[:-1])} has both {known_path[-1]} (by {_named(known)}) and {path[-1]} (by {_named(leaf)})",
                field=show(path[:-1]),
                sources=[*known.sources, *leaf.sources],
            )


def put_together(tree: Tree) -> dict[str, Any]:
    """The pod that a tree describes, as a plain dict."""
    nodes = {path: leaf.value for path, leaf in tree.items() if leaf.value is not UNSET}
    children: dict[Path, dict[Path, None]] = {}
    for path in nodes:
        for length in range(len(path)):
            children.setdefault(path[:length], {})[path[: length + 1]] = None
    built = _build((), nodes, {path: list(below) for path, below in children.items()})
    return built if isinstance(built, dict) else {}


def _build(path: Path, nodes: Mapping[Path, Any], children: Mapping[Path, list[Path]]) -> Any:
    below = children.get(path, [])
    place = shape(path)
    if place == TERMS:
        return _all_hold([json.loads(_member(child)) for child in below])
    if place in SETS:
        return [json.loads(text) for text in sorted(_member(child) for child in below)]
    if place in KEYS:
        if place == ("spec", "containers"):
            below = sorted(below, key=lambda child: str(child[-1]) != f"[{BASE}]")
        elif place[-1] not in ORDERED:
            below = sorted(below, key=lambda child: str(child[-1]))
        return [_build(child, nodes, children) for child in below]
    value = nodes.get(path)
    if isinstance(value, _Whole):
        return json.loads(value.text)
    if below or value is None or isinstance(value, _Empty):
        return {str(child[-1]): _build(child, nodes, children) for child in below}
    return value


def _member(path: Path) -> str:
    assert isinstance(path[-1], Member)
    return path[-1].text


def _all_hold(groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Terms of one list are alternatives; of several lists one each must hold: every combination."""
    combined: dict[str, dict[str, Any]] = {}
    for choice in itertools.product(*sorted(groups, key=json.dumps)):
        term: dict[str, list[Any]] = {}
        for part in choice:
            for name, expressions in part.items():
                known = term.setdefault(name, [])
                known += [expression for expression in expressions if expression not in known]
        combined[json.dumps(term, sort_keys=True)] = term
    return list(combined.values())


def explain(tree: Tree) -> dict[str, list[str]]:
    """Who set each field: path to names. A field that was taken away ends in ``(unset)``."""
    return {
        show(path) + (" (unset)" if leaf.value is UNSET else ""): list(leaf.sources)
        for path, leaf in tree.items()
        if not isinstance(leaf.value, _Empty) or (path and isinstance(path[-1], Member))
    }
