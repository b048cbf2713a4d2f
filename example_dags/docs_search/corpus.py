"""Real texts that every machine has: the documentation strings of Python's standard library.

The files are parsed, never imported. The corpus is the same for one Python patch release; it changes
with the next, so it carries its own hash.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: Tests, tools with a user interface, vendored copies, generated data.
SKIPPED = {
    "test", "tests", "idlelib", "tkinter", "lib2to3", "distutils", "ensurepip", "venv",
    "antigravity", "this", "pydoc_data", "site-packages", "turtle", "turtledemo",
}  # fmt: skip
SHORTEST = 40
GOLDEN_QUERIES = 300


def texts() -> Iterator[dict[str, str]]:
    """Documents ``{id, module, name, summary, text}``: one per documented module, class or function."""
    root = Path(sysconfig.get_paths()["stdlib"])
    seen_texts: set[str] = set()
    used_ids: dict[str, int] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        module = parts[0]
        if (
            module not in sys.stdlib_module_names
            or SKIPPED & set(parts)
            or module.startswith("_sysconfigdata")
        ):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        dotted = ".".join(part for part in parts if part != "__init__")
        for name, doc in _docstrings(tree, dotted):
            text = " ".join(doc.split())
            if len(text) < SHORTEST or text in seen_texts:
                continue
            seen_texts.add(text)
            used_ids[name] = used_ids.get(name, 0) + 1
            identity = name if used_ids[name] == 1 else f"{name}#{used_ids[name]}"
            yield {
                "id": identity,
                "module": module,
                "name": name.rpartition(".")[2],
                "summary": doc.strip().splitlines()[0].strip(),
                "text": text,
            }


def _docstrings(node: ast.AST, dotted: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
        doc := ast.get_docstring(node)
    ):
        yield dotted, doc
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{dotted}.{child.name}")


def write(folder: Path) -> dict[str, str | int | bool]:
    """Write ``corpus.jsonl`` and ``golden.jsonl`` below ``folder``, once per Python patch release.

    Golden queries ask for a text by its summary line. The line is part of the indexed text, so they
    prove that the index is whole, not that it understands.
    """
    folder = folder / f"python-{platform.python_version()}"
    corpus, golden, facts = folder / "corpus.jsonl", folder / "golden.jsonl", folder / "facts.json"
    reused = facts.exists()
    if not reused:
        folder.mkdir(parents=True, exist_ok=True)
        documents = list(texts())
        lines = [json.dumps(document, ensure_ascii=False, sort_keys=True) for document in documents]
        corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
        chosen = sorted(documents, key=lambda document: _digest(document["id"]))[:GOLDEN_QUERIES]
        golden.write_text(
            "".join(
                json.dumps({"query": document["summary"], "expected": [document["id"]]}, ensure_ascii=False)
                + "\n"
                for document in chosen
            ),
            encoding="utf-8",
        )
        facts.write_text(
            json.dumps({"documents": len(documents), "digest": _digest("\n".join(lines))}), encoding="utf-8"
        )
    return {
        **json.loads(facts.read_text(encoding="utf-8")),
        "uri": str(corpus),
        "golden": str(golden),
        "reused": reused,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
