"""Errors of releases."""

from __future__ import annotations

from airflow_provider_mlops.errors import Busy, InvalidArgument, PermanentError, RemoteObjectNotFound


class PartInvalid(InvalidArgument):
    """A part of a release says nothing that could be released or compared."""

    remedy = "Pass the output of the task that makes the part."


class ReleaseNotFound(RemoteObjectNotFound):
    """The ledger has no release of that id, or none at all in this channel."""

    remedy = "List the releases: python -m airflow_provider_mlops release list SERVICE --ledger URI."


class NoPreviousRelease(PermanentError):
    """Nothing other than the current release was ever live in this channel."""

    remedy = "Name the release to go back to."


class LedgerCorrupt(PermanentError):
    """A file of the release ledger is damaged, or belongs to another release than its name says."""

    remedy = "Put the file named above back from a backup; no other file of the ledger is affected."


class ReleaseBusy(Busy):
    """Another run releases or rolls back in this channel right now."""

    remedy = "Let the other run end; set max_active_runs=1 on the DAG so that runs do not meet."


class ReleaseSuperseded(PermanentError):
    """Another run released in this channel after this one had begun; going on would mix two releases."""

    remedy = "Look at what is live. To release this one all the same, clear the task."
