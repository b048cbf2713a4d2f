"""Jinja where nobody would render it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_mlops.pods.checks import is_template
from airflow_provider_mlops.pods.errors import RecipeInvalid


def refuse_templates(value: Any, why: str, path: str = "") -> None:
    """:raises RecipeInvalid: names the first field with a Jinja expression in it, and says why that is wrong."""
    if is_template(value):
        raise RecipeInvalid(
            f"{path} is {value!r}, but {why}", field=path, next_step="Write the value itself."
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_templates(inner, why, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            refuse_templates(
                inner, why, f"{path}[{inner.get('name', index) if isinstance(inner, dict) else index}]"
            )
