"""Builds a Bento from a request: environment, identity, reuse, isolated build, scan, archive, store."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from airflow_provider_mlops.bento import archive, environment, runner
from airflow_provider_mlops.bento.build_request import AUTO_VERSION, BuildRequest
from airflow_provider_mlops.bento.child_process import ChildProcess, Ended
from airflow_provider_mlops.bento.context_folder import ContextFolder, read_context, read_model
from airflow_provider_mlops.bento.environment import Environment
from airflow_provider_mlops.bento.errors import (
    BentoBuildFailed,
    BentoContainsSecret,
    BentoContextInvalid,
    DependencyLockFailed,
    EnvironmentBuildFailed,
    ModelMissing,
    PackageIndexUnreachable,
    ServiceImportFailed,
)
from airflow_provider_mlops.bento.index_access import IndexAccess
from airflow_provider_mlops.bento.input_hash import automatic_version, input_hash, model_version, tree_hash
from airflow_provider_mlops.bento.model_source import ModelSource, PlacedModel, RegisteredModel
from airflow_provider_mlops.bento.secret_scan import Finding, find_credentials
from airflow_provider_mlops.bento.store import BentoStore
from airflow_provider_mlops.errors import InvalidArgument, MlopsError, StorageUnwritable
from airflow_provider_mlops.payloads import SCHEMA, BentoPayload

_FINDINGS_SHOWN = 5

#: The kinds of failure that the runner tells apart.
_FAILURES: dict[str, type[MlopsError]] = {
    "service": ServiceImportFailed,
    "model": ModelMissing,
    "lock": DependencyLockFailed,
    "environment": EnvironmentBuildFailed,
    "context": BentoContextInvalid,
    "storage": StorageUnwritable,
    "other": BentoBuildFailed,
}


@dataclass(frozen=True, slots=True)
class Isolation:
    """Where BentoML runs.

    :param mode: ``"venv"``: an environment of our own, made once and cached; ``"external"``: that of ``python``.
    :param python: interpreter that the environment is made from (``venv``; default: the worker's), or the
        interpreter of a ready environment (``external``).
    :param requirements: what the environment holds (``venv``).
    :param cache: folder of the environments (``venv``).
    :raises InvalidArgument: an unknown mode, or ``external`` without an interpreter.
    """

    mode: Literal["venv", "external"] = "venv"
    python: str | None = None
    requirements: Sequence[str] = environment.DEFAULT_REQUIREMENTS
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("venv", "external"):
            raise InvalidArgument(f"isolation {self.mode!r} is neither 'venv' nor 'external'")
        if self.mode == "external" and not self.python:
            raise InvalidArgument(
                "isolation='external' needs python",
                next_step="Give the path of the interpreter of an environment that holds BentoML and uv.",
            )


@dataclass(frozen=True, slots=True)
class _Model:
    path: Path
    sha256: str
    origin: dict[str, str]


class BentoBuilder:
    """One attempt to build one Bento.

    :param store: where the archive goes.
    :param isolation: where BentoML runs.
    :param access: what the child processes see of the worker's environment.
    :param timeout: seconds for making the environment and again for the build; ``None``: no limit.
    :param on_line: gets progress and every line of the tools' output.
    """

    def __init__(
        self,
        *,
        store: BentoStore,
        isolation: Isolation,
        access: IndexAccess,
        timeout: float | None,
        on_line: Callable[[str], None],
    ) -> None:
        self._store = store
        self._isolation = isolation
        self._access = access
        self._timeout = timeout
        self._on_line = on_line
        self._child = ChildProcess()

    def kill(self) -> None:
        """Stop what is running, descendants included. Safe in a signal handler."""
        self._child.kill()

    def build(self, request: BuildRequest, models: Mapping[str, Any]) -> BentoPayload:
        """Build the Bento, or find the one that was built from the same input.

        :param models: model name to a path (``pathlib.Path`` or an object store path), or a :class:`RegisteredModel`.
        :raises MlopsError: one of this station's errors, or of the shared ones.
        """
        context = read_context(request)
        self._store.check_writable(context.name)
        with tempfile.TemporaryDirectory(prefix="mlops-bento-", ignore_cleanup_errors=True) as folder:
            work = Path(folder)
            found = {
                name: _fetch_model(
                    name,
                    model if isinstance(model, RegisteredModel) else PlacedModel(model),
                    work / "fetched",
                )
                for name, model in models.items()
            }
            home = self._environment()
            hashes = {name: model.sha256 for name, model in found.items()}
            identity = input_hash(
                request,
                context,
                hashes,
                bentoml=home.bentoml,
                python=home.python_version,
            )
            version = automatic_version(identity) if request.version == AUTO_VERSION else request.version
            origins = {name: model.origin for name, model in found.items() if model.origin}
            there = self._store.find(context.name, version, identity)
            if there is not None:
                self._on_line(f"Unchanged input: {there['uri']} is reused")
                # The same files may have got another name in the registry since.
                return {**there, "origins": origins}
            built = self._run(request, context, found, version, home, work)
            return {**self._pack(built, identity, hashes, work), "origins": origins}

    def _environment(self) -> Environment:
        if self._isolation.mode == "external":
            return environment.existing_environment(str(self._isolation.python))
        return environment.ensure_environment(
            self._isolation.requirements,
            cache=self._isolation.cache,
            python=self._isolation.python,
            access=self._access,
            child=self._child,
            on_line=self._on_line,
            timeout=self._timeout,
        )

    def _run(
        self,
        request: BuildRequest,
        context: ContextFolder,
        models: Mapping[str, _Model],
        version: str,
        home: Environment,
        work: Path,
    ) -> dict[str, Any]:
        for folder in ("home", "tmp"):
            (work / folder).mkdir()
        order = work / "request.json"
        order.write_text(
            json.dumps(
                {
                    "context": str(context.folder),
                    "bentofile": str(context.bentofile) if context.bentofile else None,
                    "service": context.service,
                    "name": context.name,
                    "version": version,
                    "labels": dict(request.labels),
                    "args": dict(request.args),
                    "lock": request.lock,
                    "models": {
                        name: {
                            "path": str(model.path),
                            "version": model_version(model.sha256),
                            # What a name points to may change; what is written into the Bento stays true.
                            "metadata": {k: v for k, v in model.origin.items() if k != "reference"},
                        }
                        for name, model in models.items()
                    },
                }
            ),
            encoding="utf-8",
        )
        with environment.netrc_file(self._access) as variables:
            ended = self._child.run(
                [str(home.python), "-I", runner.__file__, str(order)],
                environment=environment.bento_variables(home.python, work, variables),
                cwd=work,
                on_line=self._on_line,
                timeout=self._timeout,
                result_fd_argument=True,
            )
        return _result(ended, context)

    def _pack(
        self, built: Mapping[str, Any], identity: str, hashes: dict[str, str], work: Path
    ) -> BentoPayload:
        bento = Path(built["path"])
        models = {f"{model['name']}:{model['version']}": Path(model["path"]) for model in built["models"]}
        # Models are the user's own bytes and may be large; what BentoML wrote is what can leak.
        findings = list(find_credentials(_contents(bento), self._access.secrets))
        if findings:
            raise _secret_found(str(built["name"]), findings)
        packed = work / "bento.tar"
        try:
            with packed.open("wb") as target:
                archive.write_archive(target, bento, models)
            # The store is no longer needed, and a model may be large.
            shutil.rmtree(work / "home", ignore_errors=True)
            with packed.open("rb") as stream:
                digest = archive.digest(stream)
        except OSError as error:
            raise StorageUnwritable(f"Temporary folder {work}: {error}") from error
        name, version = str(built["name"]), str(built["version"])
        payload = BentoPayload(
            schema=SCHEMA,
            kind="bento",
            tag=f"{name}:{version}",
            name=name,
            version=version,
            uri=self._store.uri(name, version),
            digest=digest,
            input_hash=identity,
            size=packed.stat().st_size,
            models=hashes,
            origins={},
            reused=False,
        )
        return self._store.publish(packed, payload)


def _fetch_model(name: str, source: ModelSource, folder: Path) -> _Model:
    """A model on the local disk, and its content hash; a remote one is copied below ``folder``."""
    try:
        local = source.fetch(folder / name)
        return _Model(local.resolve(), tree_hash(read_model(local)), dict(source.origin))
    except FileNotFoundError as error:
        raise ModelMissing(
            f"Model {name!r}: nothing at {getattr(source, 'place', error)}", model=name
        ) from error


def _contents(bento: Path) -> Iterator[tuple[str, bytes]]:
    for name, path in archive.bento_files(bento, {}):
        if path.is_file() and not path.is_symlink():
            yield name, path.read_bytes()


def _secret_found(name: str, findings: Sequence[Finding]) -> BentoContainsSecret:
    shown = ", ".join(map(str, findings[:_FINDINGS_SHOWN]))
    more = len(findings) - _FINDINGS_SHOWN
    return BentoContainsSecret(
        f"Bento {name!r} was not stored: credentials in {shown}{f' and {more} more' if more > 0 else ''}",
        files=sorted({finding.path for finding in findings}),
    )


def _result(ended: Ended, context: ContextFolder) -> dict[str, Any]:
    """What the runner reported.

    :raises MlopsError: the failure that it reported, or that it died without a word.
    """
    try:
        answer = json.loads(ended.result)
        built: dict[str, Any] | None = answer.get("bento")
        failure: dict[str, str] | None = answer.get("error")
    except ValueError:
        raise BentoBuildFailed(
            f"The build of {context.folder} ended with exit code {ended.returncode} and no result: {ended.last_words()}",
            returncode=ended.returncode,
        ) from None
    if built is not None:
        return built
    if failure is None:
        raise BentoBuildFailed(f"The build of {context.folder} gave neither a Bento nor a reason")
    kind = _FAILURES[failure["kind"]]
    cause = f"{failure['place']}: {failure['cause']}" if failure["place"] else failure["cause"]
    if failure["kind"] == "lock":
        cause = ended.last_words()
        if environment.network_trouble(cause):
            kind = PackageIndexUnreachable
    raise kind(f"Service {context.service!r} in {context.folder}: {cause}", place=failure["place"])
