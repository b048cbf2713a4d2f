"""Functions of the user's, named as ``package.module:function`` so that a spec stays JSON."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument


def check_function_name(text: str, what: str) -> None:
    """Refuse what cannot name a function.

    :param what: what the function is for, as the start of a sentence.
    :raises InvalidArgument: not of the form ``package.module:function``.
    """
    if not is_function_name(text):
        raise InvalidArgument(f"{what} {text!r} is not of the form 'package.module:function'")


def is_function_name(text: str) -> bool:
    """Whether the text is of the form ``package.module:function``."""
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in module.split(".")) and name.isidentifier()


def load_function(text: str, what: str) -> Callable[..., Any]:
    """Import the named function.

    :param what: as in :func:`check_function_name`.
    :raises InvalidArgument: module or function is missing.
    """
    module, _, name = text.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidArgument(
            f"{what} {text!r}: {error}",
            next_step="Make the module importable for workers (in the DAG folder, or installed).",
        ) from error
    return function
