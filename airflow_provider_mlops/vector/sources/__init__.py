"""Where documents come from: files, databases, functions. Records are streamed, and read twice in a run.

What a source cannot read to its end is an error, never a shorter source: a document that was not read would
otherwise look like one that is gone.
"""

from airflow_provider_mlops.vector.sources.base import PathLike, Source, SourceRecord
from airflow_provider_mlops.vector.sources.database import SqlRows, SqlSource
from airflow_provider_mlops.vector.sources.files import Files, FoundFile, find_files
from airflow_provider_mlops.vector.sources.function import Records

__all__ = [
    "Files",
    "FoundFile",
    "PathLike",
    "Records",
    "Source",
    "SourceRecord",
    "SqlRows",
    "SqlSource",
    "find_files",
]
