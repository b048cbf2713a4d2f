"""``rules``: the expression language of ``if``, and which rule decides."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.testing.gitlab.ci_variables import expand
from airflow_provider_mlops.testing.gitlab.specs import ConfigError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<op>==|!=|=~|!~|&&|\|\||!|\(|\))
    | (?P<variable>\$\w+|\$\{\w+\})
    | (?P<string>"[^"]*"|'[^']*')
    | (?P<regex>/(?:\\.|[^/\\])+/[ims]*)
    | (?P<null>null\b)
    )""",
    re.VERBOSE,
)

Value = str | None | bool | re.Pattern[str]


def _pattern(text: str) -> re.Pattern[str] | None:
    match = re.fullmatch(r"/(.+)/([ims]*)", text, re.DOTALL)
    if match is None:
        return None
    flags = 0
    for letter in match[2]:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}[letter]
    return re.compile(match[1].replace(r"\/", "/"), flags)


class _Parser:
    """Recursive descent: ``||`` binds weaker than ``&&``, comparisons bind strongest."""

    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.tokens: list[tuple[str, str]] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(text)
            self.tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            position = match.end()
        self.index = 0

    def _take(self, *operators: str) -> str | None:
        if self.index < len(self.tokens):
            kind, text = self.tokens[self.index]
            if kind == "op" and text in operators:
                self.index += 1
                return text
        return None

    def parse(self) -> bool:
        result = self._any()
        if self.index != len(self.tokens):
            raise ValueError(self.tokens[self.index][1])
        return _truth(result)

    def _any(self) -> Value:
        result = self._all()
        while self._take("||"):
            other = self._all()
            result = _truth(result) or _truth(other)
        return result

    def _all(self) -> Value:
        result = self._comparison()
        while self._take("&&"):
            other = self._comparison()
            result = _truth(result) and _truth(other)
        return result

    def _comparison(self) -> Value:
        left = self._operand()
        operator = self._take("==", "!=", "=~", "!~")
        if operator is None:
            return left
        right = self._operand()
        if operator in ("==", "!="):
            return (left == right) is (operator == "==")
        pattern = (
            right if isinstance(right, re.Pattern) else _pattern(right) if isinstance(right, str) else None
        )
        found = pattern is not None and isinstance(left, str) and pattern.search(left) is not None
        return found is (operator == "=~")

    def _operand(self) -> Value:
        if self._take("!"):
            return not _truth(self._operand())
        if self._take("("):
            inner = self._any()
            if self._take(")") is None:
                raise ValueError("missing )")
            return inner
        if self.index >= len(self.tokens):
            raise ValueError("unexpected end")
        kind, text = self.tokens[self.index]
        self.index += 1
        match kind:
            case "variable":
                return self.variables.get(text.strip("${}"))
            case "string":
                return text[1:-1]
            case "regex":
                return _pattern(text)
            case "null":
                return None
            case _:
                raise ValueError(text)


def _truth(value: Value) -> bool:
    return value if isinstance(value, bool) else value not in (None, "")


def holds(expression: str, variables: Mapping[str, str]) -> bool:
    """Evaluate an ``if`` expression.

    :raises ConfigError: ``invalid expression syntax``, as GitLab says it.
    """
    try:
        return _Parser(expression, variables).parse()
    except (ValueError, re.error) as error:
        raise ConfigError(f"rule if invalid expression syntax: {expression}") from error


@dataclass(frozen=True)
class Verdict:
    """The deciding rule's word; unset keywords are None."""

    when: str | None = None
    allow_failure: Any = None
    variables: Mapping[str, Any] | None = None
    start_in: Any = None
    needs: Any = None


def decide(
    rules: Iterable[Any], variables: Mapping[str, str], files: Callable[[], Sequence[str]]
) -> Verdict | None:
    """The first rule that matches, or None when none does.

    ``changes`` is always true, as it is in GitLab for pipelines made by the API or a trigger token.
    ``files`` lists the repository's paths for ``exists``.
    """
    for rule in rules:
        if not isinstance(rule, Mapping):
            raise ConfigError("rules should be an array of hashes")
        if "if" in rule and not holds(str(rule["if"]), variables):
            continue
        if "exists" in rule:
            wanted = rule["exists"]
            wanted = wanted.get("paths", []) if isinstance(wanted, Mapping) else wanted
            patterns = [
                expand(str(item), variables) for item in ([wanted] if isinstance(wanted, str) else wanted)
            ]
            if not any(fnmatch.fnmatch(path, pattern) for path in files() for pattern in patterns):
                continue
        return Verdict(
            when=rule.get("when"),
            allow_failure=rule.get("allow_failure"),
            variables=rule.get("variables"),
            start_in=rule.get("start_in"),
            needs=rule.get("needs"),
        )
    return None
