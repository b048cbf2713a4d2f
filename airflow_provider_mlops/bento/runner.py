"""Builds one Bento inside the isolated environment. Standard library only, besides BentoML itself.

Started as ``python -I runner.py REQUEST.json RESULT_FD``: one process per build, because BentoML
imports the user's service and leaves it in ``sys.modules``, where the next build would find it instead
of its own. The result is one JSON object on a descriptor of its own, so nothing that the user's code
prints, and no way in which it exits, can be taken for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LOCK_FAILURE = "Failed to lock"


def main(request_path: str, result_fd: int) -> None:
    """Read the request, build, and write the result."""
    os.set_inheritable(result_fd, False)
    # What is printed goes where the log is.
    os.dup2(2, 1)
    if sys.platform == "linux":
        # A worker that is killed outright cannot stop us: the kernel does.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    try:
        result = {"bento": build(request)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything, SystemExit included
        failure = describe(error, request["context"])
        if failure["kind"] != "lock":  # there the resolver's own words are to stay the last ones
            traceback.print_exc()
        result = {"error": failure}
    data = json.dumps(result).encode()
    while data:
        data = data[os.write(result_fd, data) :]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()  # the user's code may have closed or replaced it
    # Threads and exit handlers that the user's code left behind have no say any more.
    os._exit(0)


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Import the models, build the Bento, and say where everything lies in the private store."""
    import attr
    import bentoml
    from bentoml._internal.bento.bento import Bento
    from bentoml._internal.bento.build_config import BentoBuildConfig, ModelSpec
    from bentoml._internal.utils.args import set_arguments

    tags = {name: _import_model(bentoml, name, model) for name, model in request["models"].items()}
    set_arguments(request["args"])
    if request["bentofile"]:
        config = BentoBuildConfig.from_file(request["bentofile"])
    else:
        config = BentoBuildConfig(service=request["service"])
    python = config.python
    if request["lock"] != "auto" or python.lock_packages is None:
        python = attr.evolve(python, lock_packages=request["lock"] == "on")
    listed = {spec.tag.partition(":")[0] for spec in config.models}
    config = attr.evolve(
        config,
        service=request["service"],
        name=request["name"],
        labels={**(config.labels or {}), **request["labels"]},
        python=python,
        # A model that is only looked up by name at run time must be in the archive, too.
        models=[*config.models, *(ModelSpec(tag) for name, tag in tags.items() if name not in listed)],
    )
    # BentoML's own bytecode was kept in the environment; the user's folder is not to be written into.
    sys.dont_write_bytecode = True
    bento = Bento.create(config, version=request["version"], build_ctx=request["context"]).save()
    return {
        "name": bento.tag.name,
        "version": bento.tag.version,
        "path": bento.path,
        "models": [_stored(bentoml, info) for info in bento.info.all_models if info.registry == "bentoml"],
    }


def _import_model(bentoml: Any, name: str, model: dict[str, Any]) -> str:
    tag = f"{name}:{model['version']}"
    source = Path(model["path"])
    with bentoml.models.create(tag, metadata=model["metadata"]) as stored:
        # BentoML copies what the links point to when it saves the model, so it is copied once.
        for entry in [source] if source.is_file() else source.iterdir():
            (Path(stored.path) / entry.name).symlink_to(entry)
    return tag


def _stored(bentoml: Any, info: Any) -> dict[str, str]:
    model = bentoml.models.get(info.tag)
    return {"name": model.tag.name, "version": model.tag.version, "path": model.path}


# --- what went wrong ---------------------------------------------------------------------------------


def describe(error: BaseException, context: str) -> dict[str, str]:
    """An exception as the kind of failure, the cause in one line, and the line of the user's code it came from."""
    chain = list(_chain(error))
    # What came out of the user's own files tells more than what BentoML made of it.
    telling = next((link for link in chain if _place(link, context) or _names_model(link)), chain[-1])
    place = _place(telling, context)
    return {"kind": _kind(error, chain, place), "cause": _cause(error, telling), "place": place}


def _kind(error: BaseException, chain: list[BaseException], place: str) -> str:
    names = {type(link).__name__ for link in chain}
    if any(str(link).startswith(_LOCK_FAILURE) for link in chain):
        return "lock"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in ("bentoml", "attr"):
        return "environment"
    if any(_names_model(link) for link in chain):
        return "model"
    if place or "ImportServiceError" in names or isinstance(error, SystemExit):
        return "service"
    if isinstance(error, OSError):
        return "storage"
    if isinstance(error, BaseExceptionGroup) or names & {
        "YAMLError",
        "InvalidArgument",
        "BentoMLConfigException",
    }:
        return "context"
    return "other"


def _names_model(error: BaseException) -> bool:
    """Whether BentoML says here which model it lacks: one the service declares, or one its module looks up."""
    text = str(error)
    if "could not be found locally" in text or "not found either locally" in text:
        return True
    return type(error).__name__ == "NotFound" and text.startswith(("Model ", "no Models "))


def _cause(error: BaseException, telling: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(leaf) for leaf in _leaves(error))
    if isinstance(telling, SystemExit):
        return f"it called sys.exit({telling.code!r})"
    return _words(telling)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it.

    BentoML takes a service that cannot be imported for a tag in its store and looks there next: the
    vain look-ups stand in the chain before the cause that counts.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _place(error: BaseException, context: str) -> str:
    root = os.path.realpath(context) + os.sep
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.realpath(frame.filename).startswith(root)
    ]
    if not frames:
        return ""
    return f"{os.path.realpath(frames[-1].filename)[len(root) :]}:{frames[-1].lineno}"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
