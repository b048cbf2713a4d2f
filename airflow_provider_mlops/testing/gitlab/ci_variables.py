"""CI/CD variables: expansion and the predefined ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$|\$(\w+)|\$\{(\w+)\}")
_MAX_DEPTH = 10


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$NAME`` and ``${NAME}``; an unknown name becomes empty, ``$$`` stays a dollar."""
    return _REFERENCE.sub(
        lambda match: "$" if match[0] == "$$" else variables.get(match[1] or match[2], ""), text
    )


def expand_all(variables: Mapping[str, str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Expand variables that refer to each other (or to ``known``).

    A reference to an unknown name stays as it is, for the shell to see, and so does a loop.
    """
    names = {**(known or {}), **variables}

    def value(name: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            other = match[1] or match[2]
            if match[0] == "$$" or other not in names or other == name or depth >= _MAX_DEPTH:
                return match[0]
            return value(other, depth + 1)

        return _REFERENCE.sub(replace, names[name])

    return {name: value(name, 0) for name in variables}


def slug(text: str) -> str:
    """``CI_COMMIT_REF_SLUG`` and its like: lower case, 63 characters, dashes for everything else."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:63].strip("-")
