"""A real corpus for the benchmarks: the descriptions of Debian's packages, fetched through apt.

A package's synopsis is what somebody would ask for, and its long description, without the synopsis, what should be
found: labelled pairs that people wrote. Nothing is installed, and the machine's own lists are left alone.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "benchmarks" / "debian"
#: Exit code without apt: nothing was measured, and nothing is wrong.
SKIPPED = 77
_HELPER = "/usr/lib/apt/apt-helper"
# Shorter ones say "this is a transitional package" and the like.
_LEAST_CHARACTERS = 60


def documents(count: int | None = None) -> list[dict[str, str]]:
    """``id`` (package), ``text``, ``section`` and ``synopsis``, in an order that is always the same and mixed.

    Of packages with the same description one stays.

    :param count: how many; default all.
    """
    cached = FOLDER / "corpus.jsonl"
    if not cached.exists():
        lists = _fetched()
        found = list(_parsed(lists))
        random.Random(1).shuffle(found)
        partial = cached.with_suffix(".partial")
        partial.write_text("".join(json.dumps(document) + "\n" for document in found))
        partial.rename(cached)
    return [json.loads(line) for line in cached.read_text().splitlines()[:count]]


def _fetched() -> Path:
    if not shutil.which("apt-get") or not Path(_HELPER).exists():
        print(
            "There is no apt here (apt-get and apt-helper): no corpus, nothing was measured.", file=sys.stderr
        )
        sys.exit(SKIPPED)
    lists, cache = FOLDER / "lists", FOLDER / "cache"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = {
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "Acquire::Languages": "en",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
    }
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    done = subprocess.run(["apt-get", *arguments, "update"], capture_output=True, text=True)
    if done.returncode or not list(lists.glob("*Translation-en*")):
        sys.exit(f"apt-get update brought no descriptions:\n{done.stdout}{done.stderr}")
    return lists


def _parsed(lists: Path) -> Iterator[dict[str, str]]:
    sections = {
        (fields["Package"], fields["Description-md5"]): fields.get("Section", "unknown")
        for file in sorted(lists.glob("*_Packages*"))
        for fields in _stanzas(file)
        if "Description-md5" in fields
    }
    seen = set()
    packages = set()
    for file in sorted(lists.glob("*Translation-en*")):
        for fields in _stanzas(file):
            synopsis, _, description = fields["Description-en"].partition("\n")
            text = " ".join(line.strip() for line in description.splitlines() if line.strip() != ".")
            section = sections.get((fields["Package"], fields["Description-md5"]))
            if section is None or len(text) < _LEAST_CHARACTERS:
                continue
            if text in seen or fields["Package"] in packages:
                continue
            seen.add(text)
            packages.add(fields["Package"])
            yield {
                "id": fields["Package"],
                "text": text,
                "section": section.rpartition("/")[2],
                "synopsis": synopsis.strip(),
            }


def _stanzas(file: Path) -> Iterator[Mapping[str, str]]:
    """Paragraphs of a list of apt's, however it is compressed."""
    done = subprocess.run([_HELPER, "cat-file", str(file)], stdout=subprocess.PIPE, check=True)
    for paragraph in done.stdout.decode().split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith(" "):
                fields[name] += "\n" + line
            else:
                name, _, value = line.partition(": ")
                fields[name] = value
        if "Package" in fields:
            yield fields
