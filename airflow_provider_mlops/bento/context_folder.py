"""Reads a build context from disk: its bentofile and exactly the files that BentoML will pack."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pathspec import PathSpec

from airflow_provider_mlops.bento.build_request import BuildRequest, is_tag_part, tag_part_from
from airflow_provider_mlops.bento.errors import BentoContextInvalid

#: Folders that BentoML leaves out whatever the bentofile says (``BentoPathSpec.extra`` of BentoML 1.4).
_ALWAYS_EXCLUDED = (".git/", ".venv/", "venv/", "__pycache__/", ".DS_Store")
_IGNORE_FILE = ".bentoignore"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that goes into a hash: path relative to its root, executable bit, SHA-256 of the content."""

    path: str
    executable: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class ContextFolder:
    """What a context folder holds.

    :param folder: the resolved folder.
    :param bentofile: path of the build file, if there is one.
    :param options: the build file's options, decoded.
    :param service: import path of the service.
    :param name: name of the Bento.
    :param files: what the Bento will hold, and what its build reads besides, sorted by path.
    """

    folder: Path
    bentofile: Path | None
    options: Mapping[str, Any]
    service: str
    name: str
    files: tuple[SourceFile, ...]


def read_context(request: BuildRequest) -> ContextFolder:
    """Read and check the context folder of ``request``; builds nothing and imports nothing of it.

    :raises BentoContextInvalid: no such folder, a malformed bentofile, or no service in the folder.
    """
    folder = Path(request.context).resolve()
    if not folder.is_dir():
        raise BentoContextInvalid(
            f"Context {request.context!r} is not a folder on this worker",
            next_step="Give the folder that holds service.py; a relative path counts from the DAG file's folder.",
            context=request.context,
        )
    bentofile, options = _read_bentofile(folder, request.bentofile)
    service = _find_service(folder, request.service or options.get("service"), bentofile)
    name = request.name or _name(options.get("name"), folder)
    packing = _packing(folder, options)
    paths = {path for path in _walk(folder) if packing.includes(path)} | set(_read_besides(folder, options))
    return ContextFolder(
        folder=folder,
        bentofile=bentofile,
        options=options,
        service=service,
        name=name,
        files=tuple(_hash_file(folder, path, links=True) for path in sorted(paths)),
    )


def read_model(place: Path) -> tuple[SourceFile, ...]:
    """Hash a model that is one file or a folder of files.

    :raises FileNotFoundError: nothing is there, or the folder is empty.
    """
    if place.is_file():
        return (_hash_file(place.parent, place.name),)
    files = tuple(_hash_file(place, path) for path in sorted(_walk(place)))
    if not files:
        raise FileNotFoundError(f"{place} holds no files")
    return files


def _hash_file(root: Path, path: str, *, links: bool = False) -> SourceFile:
    file = root / path
    digest = hashlib.sha256()
    if links and file.is_symlink():
        # BentoML copies the link itself, so where it points to is its content; what it points to may
        # be read while the service is imported.
        digest.update(os.fsencode(file.readlink()))
    if not file.is_file():
        return SourceFile(path=path, executable=False, sha256=digest.hexdigest())
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
        executable = bool(os.fstat(stream.fileno()).st_mode & stat.S_IXUSR)
    return SourceFile(path=path, executable=executable, sha256=digest.hexdigest())


# --- the build file ----------------------------------------------------------------------------------


def _read_bentofile(folder: Path, given: str | None) -> tuple[Path | None, dict[str, Any]]:
    if given is not None:
        path = folder / given
        if not path.is_file():
            raise BentoContextInvalid(
                f"Bentofile {given!r} is not in {folder}",
                next_step="Give its path relative to the context folder.",
            )
        return path, _options_of(path)
    for candidate in ("bentofile.yaml", "pyproject.toml"):
        path = folder / candidate
        if path.is_file():
            return path, _options_of(path)
    return None, {}


def _options_of(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.name == "pyproject.toml":
            document = tomllib.loads(text)
            project = document.get("project", {})
            options = dict(document.get("tool", {}).get("bentoml", {}).get("build", {}))
            options.setdefault("name", project.get("name"))
            # BentoML adds the project's dependencies to the Bento, so they belong to its input.
            options["project.dependencies"] = project.get("dependencies", [])
            return options
        options = yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BentoContextInvalid(f"{path} cannot be parsed: {_one_line(error)}") from error
    if not isinstance(options, dict):
        raise BentoContextInvalid(
            f"{path} is {'empty' if options is None else 'not a mapping'}",
            next_step='Write at least `service: "service:YourService"`, or remove the file.',
        )
    return options


def _name(declared: object, folder: Path) -> str:
    name = str(declared).lower() if declared else tag_part_from(folder.name)
    if not is_tag_part(name):
        raise BentoContextInvalid(
            f"{declared or folder.name!r} of {folder} is not a legal Bento name",
            next_step="Pass name=... to the operator.",
        )
    return name


def _find_service(folder: Path, declared: object, bentofile: Path | None) -> str:
    service = str(declared) if declared else "service.py"
    module = service.partition(":")[0]
    stem = module.removesuffix(".py") if module.endswith(".py") else module.replace(".", "/")
    places = [root / stem for root in (folder, folder / "src")]
    if not stem or not any(
        place.with_name(f"{place.name}.py").is_file() or place.is_dir() for place in places
    ):
        source = (
            f"named by {bentofile.name}"
            if declared and bentofile
            else "named by service="
            if declared
            else ""
        )
        missing = (
            f"no service {service!r} {source}".rstrip() if declared else "no service.py and no bentofile"
        )
        raise BentoContextInvalid(
            f"Context {folder} has {missing}",
            next_step='Add service.py with a class decorated by @bentoml.service, or pass service="module:Class".',
            context=str(folder),
        )
    return service


# --- which files -------------------------------------------------------------------------------------


def _walk(folder: Path) -> Iterator[str]:
    # Like BentoML, links to folders are not followed.
    for root, _, names in os.walk(folder):
        for name in names:
            yield (Path(root) / name).relative_to(folder).as_posix()


@dataclass(frozen=True, slots=True)
class _Packing:
    include: PathSpec[Any]
    exclude: PathSpec[Any]
    ignored: tuple[tuple[Path, PathSpec[Any]], ...]

    def includes(self, path: str) -> bool:
        if not self.include.match_file(path) or self.exclude.match_file(path):
            return False
        return not any(
            spec.match_file(os.path.relpath(path, parent))
            for parent, spec in self.ignored
            if Path(path).is_relative_to(parent)
        )


def _packing(folder: Path, options: Mapping[str, Any]) -> _Packing:
    ignored = [
        (file.parent.relative_to(folder), _spec(file.read_text(encoding="utf-8").splitlines()))
        for file in sorted(folder.rglob(_IGNORE_FILE))
        if file.is_file()
    ]
    return _Packing(
        include=_spec(_lines(options, "include") or ["*"]),
        exclude=_spec([*_lines(options, "exclude"), *_ALWAYS_EXCLUDED]),
        ignored=tuple(ignored),
    )


def _spec(lines: Iterable[str]) -> PathSpec[Any]:
    with warnings.catch_warnings():
        # Deprecated or not, these are the rules by which BentoML 1.4 chooses.
        warnings.simplefilter("ignore", DeprecationWarning)
        return PathSpec.from_lines("gitwildmatch", lines)


def _lines(options: Mapping[str, Any], key: str) -> list[str]:
    value = options.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise BentoContextInvalid(f"bentofile: {key} is not a list of patterns")
    return value


def _read_besides(folder: Path, options: Mapping[str, Any]) -> Iterator[str]:
    """Files that the build reads although they may not be packed under their own name."""
    python, docker = (
        section if isinstance(section, dict) else {}
        for section in (options.get("python"), options.get("docker"))
    )
    description = str(options.get("description") or "")
    named = [
        "README.md",
        python.get("requirements_txt"),
        docker.get("setup_script"),
        docker.get("dockerfile_template"),
        description.removeprefix("file:").strip() if description.startswith("file:") else None,
    ]
    for path in named:
        if path and not Path(path).is_absolute() and (folder / path).is_file():
            yield Path(path).as_posix()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
