"""Parses Airflow's DAG folder as the DAG processor does, and prints what came of it as JSON. A program of its own."""

from __future__ import annotations

import json
import sys
import warnings


def main(folder: str) -> None:
    # Airflow's own imports come first: what it warns of by itself is not the examples' business.
    from airflow.serialization import serialized_objects

    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag
    # As the DAG processor does with the folder of a bundle.
    sys.path.append(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bag = DagBag(folder)
        serialization = (
            getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
        )
        dags = {}
        for dag_id, dag in bag.dags.items():
            written = json.loads(json.dumps(serialization.to_dict(dag)))
            read = serialization.from_dict(written)
            dags[dag_id] = {
                "tasks": {
                    task.task_id: [task.task_type, sorted(task.downstream_task_ids)] for task in dag.tasks
                },
                "read_back": {
                    task.task_id: [task.task_type, sorted(task.downstream_task_ids)] for task in read.tasks
                },
            }
    said = [f"{warning.category.__name__}: {warning.message} ({warning.filename})" for warning in caught]
    said += [text for texts in getattr(bag, "captured_warnings", {}).values() for text in texts]
    sys.stdout.write(json.dumps({"errors": bag.import_errors, "warnings": said, "dags": dags}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
