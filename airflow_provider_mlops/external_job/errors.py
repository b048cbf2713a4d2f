"""What can go wrong with an external job beyond the remote's own failures."""

from __future__ import annotations

from airflow_provider_mlops.errors import PermanentError, TemporaryError


class AttemptSuperseded(TemporaryError):
    """A later attempt of the same task has taken over; this one is a leftover and steps back."""

    remedy = "Nothing: the later attempt goes on."


class AttemptEnded(TemporaryError):
    """Airflow ended this attempt from outside (deploy, eviction, a person); the remote job may go on."""

    remedy = "The next attempt finds the remote job and goes on with it."


class TriggerBroken(TemporaryError):
    """The trigger that watched the remote job failed again and again; the job itself may still run."""

    remedy = "Read the triggerer's log; the next attempt finds the remote job and goes on with it."


class EventMalformed(PermanentError):
    """A trigger sent an event that this version does not understand."""

    remedy = "Run the same version of this package on workers and triggerers."


class AdapterUnknown(PermanentError):
    """No adapter is registered under the kind that a trigger or an operator names."""

    remedy = "Install the package that provides it on workers and triggerers, at the same version."
