"""The outline of a Markdown text: sections with the path of their headings, and blocks that belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_mlops.errors import ExtraMissing
from airflow_provider_mlops.vector.splitting import Span

# The parser takes each of these for a line break.
_BREAK = re.compile(r"\r\n|\r|\n")
_FRONT_MATTER = re.compile(r"---[ \t]*(?:\r\n|\r|\n).*?(?<=[\r\n])---[ \t]*(?:\r\n|\r|\n)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what follows it, up to the next heading.

    :param headings: the headings that it stands under, its own last.
    :param blocks: where its paragraphs, lists, tables and code blocks begin.
    """

    span: Span
    headings: tuple[str, ...]
    blocks: tuple[int, ...]


def sections(text: str) -> list[Section]:
    """All sections, in order; together they are the whole text. A heading without text of its own goes to the next one.

    :raises ExtraMissing: markdown-it-py is not installed.
    """
    starts = [0, *(match.end() for match in _BREAK.finditer(text))]
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    begin, bare = 0, True
    blocks: list[int] = []
    for line, level, title in _top_level(text):
        place = starts[line]
        if level is None:
            blocks.append(place)
            bare = False
            continue
        if not bare:
            found.append(Section((begin, place), tuple(name for _, name in path), tuple(blocks)))
            begin, blocks, bare = place, [], True
        blocks.append(place)
        path = [*((depth, name) for depth, name in path if depth < level), (level, title)]
    found.append(Section((begin, len(text)), tuple(name for _, name in path), tuple(blocks)))
    return found


def _top_level(text: str) -> Iterator[tuple[int, int | None, str]]:
    """First line of each block that is in no other, with level and text of headings."""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise ExtraMissing(
            "MarkdownChunker needs markdown-it-py", next_step="pip install 'airflow-provider-mlops[vector]'"
        ) from error
    parser = MarkdownIt("commonmark").enable("table")
    # What stands inside a line is of no interest, and is most of the work.
    parser.core.ruler.disable(["inline", "text_join"], True)
    if matter := _FRONT_MATTER.match(text):
        # It would pass for a heading. Its lines stay, so that those after it keep their numbers.
        text = "\n" * len(_BREAK.findall(matter.group())) + text[matter.end() :]
    tokens = parser.parse(text)
    for number, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0 and token.map:
            if token.type == "heading_open":
                yield token.map[0], int(token.tag[1:]), " ".join(tokens[number + 1].content.split())
            else:
                yield token.map[0], None, ""
