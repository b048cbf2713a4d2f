"""An embedder for workers of Spark and Ray: it fails once where it is told to, and it wants no Airflow around it."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow_provider_mlops.vector import HashEmbedder


def embed(texts: list[str]) -> Any:
    if find_spec("airflow") is not None:
        raise RuntimeError(f"this environment has Airflow: {sys.prefix}")
    note = Path(os.environ["EMBEDDED_TEXTS"])
    with note.open("a") as file:
        file.write("".join(f"{text}\n" for text in texts))
    mark = os.environ.get("DIE_ONCE")
    if mark and note.read_text().count("\n") > 10:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return HashEmbedder(64).embed(texts)
