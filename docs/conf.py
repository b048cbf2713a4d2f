"""Sphinx configuration. Builds without network; warnings are errors in `make docs`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# Importing operators imports Airflow, which writes into its home.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="mlops-docs-")
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from airflow_provider_mlops import __version__  # noqa: E402

project = "airflow-provider-mlops"
author = "The airflow-provider-mlops authors"
copyright = author
version = release = __version__

extensions = ["sphinx.ext.autodoc", "error_catalogue", "connection_fields"]
exclude_patterns = ["_build"]
nitpicky = False

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"{project} {version}"
html_show_copyright = False
