"""Artifacts: collecting files into archives, dotenv and JUnit reports."""

from __future__ import annotations

import fnmatch
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

DOTENV_BYTES = 5 * 1024
DOTENV_VARIABLES = 20
_DOTENV_LINE = re.compile(r"(\w+)=(.*)")
FORMATS = {"archive": "zip", "trace": None, "metadata": "gzip", "dotenv": "gzip", "junit": "gzip"}


class ReportError(Exception):
    """A report breaks GitLab's rules for it."""


@dataclass(frozen=True)
class StoredArtifact:
    """An uploaded file of a job: an archive's ``content`` is a zip, a report's is its text."""

    file_type: str
    filename: str
    content: bytes

    @property
    def file_format(self) -> str | None:
        return FORMATS.get(self.file_type, "gzip")


@dataclass(frozen=True)
class TestCase:
    """One case of a JUnit report; status is success, failed, skipped or error, ``output`` what it failed with."""

    name: str
    classname: str
    status: str
    seconds: float
    output: str | None = None


@dataclass
class TestReport:
    """The cases of a job's JUnit reports; ``error`` tells why a report could not be read."""

    cases: list[TestCase] = field(default_factory=list)
    error: str | None = None

    def count(self, status: str) -> int:
        return sum(case.status == status for case in self.cases)


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    pattern = pattern.strip().removeprefix(f"{folder}/").removeprefix("./").rstrip("/")
    if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        return
    matches = [folder] if pattern in (".", "**") else folder.glob(pattern)
    for match in matches:
        yield from match.rglob("*") if match.is_dir() else [match]


def collect(folder: Path, patterns: Iterable[str], exclude: Iterable[str] = ()) -> dict[str, Path]:
    """Files under ``folder`` that match, by their relative path; Git's own folder never does."""
    exclude = tuple(exclude)
    found: dict[str, Path] = {}
    for pattern in patterns:
        for path in _matching(folder, pattern):
            name = path.relative_to(folder).as_posix()
            if not path.is_file() or name.split("/")[0] == ".git":
                continue
            if not any(fnmatch.fnmatch(name, entry.rstrip("/")) for entry in exclude):
                found[name] = path
    return dict(sorted(found.items()))


def archive(files: Mapping[str, Path | bytes]) -> bytes:
    """A zip of files, with their modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as zipped:
        for name, content in files.items():
            if isinstance(content, Path):
                zipped.write(content, name)
            else:
                zipped.writestr(name, content)
    return buffer.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Lay an archive's files into ``folder``, with their modes."""
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        for entry in zipped.infolist():
            target = Path(zipped.extract(entry, folder))
            mode = entry.external_attr >> 16 & 0o777
            if mode and target.is_file():
                target.chmod(mode)


def member(content: bytes, path: str) -> bytes | None:
    """One file of an archive, or None."""
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        try:
            return zipped.read(path)
        except KeyError:
            return None


def parse_dotenv(text: str) -> dict[str, str]:
    """The variables of a dotenv report.

    Quotes are kept as they are, as GitLab does.

    :raises ReportError: too long, too many, or not ``NAME=value`` lines.
    """
    if len(text.encode()) > DOTENV_BYTES:
        raise ReportError(f"Dotenv Artifact Too Big. Maximum Allowable Size: {DOTENV_BYTES}")
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _DOTENV_LINE.fullmatch(line.strip())
        if match is None:
            raise ReportError("Invalid Format")
        found[match[1]] = match[2].strip()
    if len(found) > DOTENV_VARIABLES:
        raise ReportError(f"Dotenv files cannot have more than {DOTENV_VARIABLES} variables")
    return found


def parse_junit(texts: Iterable[bytes]) -> TestReport:
    """The cases of JUnit files; a file that is no XML becomes the report's error."""
    report = TestReport()
    for text in texts:
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            report.error = f"JUnit XML parsing failed: {error}"
            continue
        for case in root.iter("testcase"):
            status, output = "success", None
            for tag, name in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
                child = case.find(tag)
                if child is not None:
                    status, output = name, child.text or child.get("message")
            seconds = float(case.get("time") or 0.0)
            report.cases.append(
                TestCase(case.get("name", ""), case.get("classname", ""), status, seconds, output)
            )
    return report
