"""What can be wrong with a recipe; found while a DAG is parsed, before any pod exists."""

from __future__ import annotations

from airflow_provider_mlops.errors import InvalidArgument


class RecipeInvalid(InvalidArgument):
    """A recipe, or a fragment in it, is not a pod that Kubernetes would take."""

    remedy = "Correct the field named above."


class RecipeFieldUnknown(RecipeInvalid):
    """A fragment sets a field that pods do not have; Kubernetes would drop it without a word."""

    remedy = "Check the spelling against the Kubernetes API reference."


class RecipeConflict(RecipeInvalid):
    """Two features set one field to different values; the message names both."""

    remedy = "Keep one of the two: recipe.without(...) takes a feature out."


class AcceleratorUnknown(RecipeInvalid):
    """The catalogue does not know the accelerator, or not on this platform."""

    remedy = "Use GPU() without a model and select the nodes with Fragment({'spec': {'nodeSelector': ...}})."
