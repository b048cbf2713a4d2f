"""What the service imports. The pinned packages must match what trained the model and wrote the index."""

from __future__ import annotations

from importlib.metadata import version

REQUIREMENTS = (
    "bentoml>=1.4.39,<1.5",
    f"scikit-learn=={version('scikit-learn')}",
    f"lancedb=={version('lancedb')}",
)
