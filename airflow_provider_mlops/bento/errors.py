"""Failures of the Bento station, named for the cause."""

from __future__ import annotations

from airflow_provider_mlops.errors import PermanentError, TemporaryError


class BentoContextInvalid(PermanentError):
    """The context folder, its bentofile or an option of the build is wrong; found before anything is built."""

    remedy = "Correct the context folder or the bentofile named above."


class BentoVersionTaken(PermanentError):
    """The store already holds this explicit version, built from other input. A Bento is never overwritten."""

    remedy = "Give the build a new version, or use version='auto', which names it after its input."


class ServiceImportFailed(PermanentError):
    """The user's service module raised, exited, or defines no service; the message carries the inner cause."""

    remedy = (
        "Correct the service module. If a module is only needed at run time, import it inside "
        "`with bentoml.importing():`; if it is needed at build time, add it to the operator's requirements."
    )


class ModelMissing(PermanentError):
    """A model is not where the operator was told, or the service asks for one that nobody gave it."""

    remedy = "Pass the model through the operator's models={name: uri}, under the name the service uses."


class DependencyLockFailed(PermanentError):
    """The Bento's Python requirements cannot be locked together; the message carries the resolver's last words."""

    remedy = "Loosen the requirements that conflict, or build with lock='off'."


class EnvironmentBuildFailed(PermanentError):
    """The isolated environment cannot be made or used; the message carries the installer's last words."""

    remedy = "Check the operator's requirements and python arguments."


class PackageIndexUnreachable(TemporaryError):
    """The package index did not answer while an environment was made or requirements were locked."""

    remedy = "Check the worker's network, proxy and UV_*/PIP_* index variables."


class BentoContainsSecret(PermanentError):
    """The built Bento holds a credential; it was not stored."""

    remedy = (
        "Give index credentials through the connection named by index_conn_id or a netrc file, "
        "and exclude files with secrets by .bentoignore."
    )


class BentoBuildFailed(PermanentError):
    """BentoML refused the build, or its process died, for a reason that has no error of its own."""

    remedy = "The task log holds BentoML's whole output."


class BentoBuildInterrupted(TemporaryError):
    """The build was stopped before it ended: killed, or longer than its timeout. Nothing was stored."""

    remedy = "Clear the task to build again; raise the timeout if builds of this service take longer."


class ArchiveDamaged(PermanentError):
    """A Bento archive is truncated, is not the one that its digest promises, or reaches outside its folder."""

    remedy = "Build the Bento again; do not serve an archive of unknown origin."
