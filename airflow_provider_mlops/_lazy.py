"""Lazy modules (PEP 562): public names in one place, each imported from its station on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazy_names(
    module: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of a module whose names live elsewhere.

    :param module: ``__name__`` of the lazy module.
    :param homes: public name to the module, relative to this package, that defines it.
    """
    names = sorted(homes)

    def __getattr__(name: str) -> object:
        try:
            home = homes[name]
        except KeyError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None
        return getattr(importlib.import_module(f"airflow_provider_mlops.{home}"), name)

    return __getattr__, lambda: names, names
