"""Load an index with Spark: ``spark-submit vector_spark.py INDEX.json PLAN.json DOCUMENTS``."""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from airflow_provider_mlops.vector.shard import ShardStage


def load(spark: SparkSession, stage: ShardStage, documents: str) -> dict[str, int]:
    frame = spark.read.json(documents).repartition(spark.sparkContext.defaultParallelism)
    counts = frame.mapInArrow(stage.map_in_arrow, stage.schema)
    row = counts.selectExpr("sum(chunks) AS chunks", "sum(written) AS written", "sum(bad) AS bad").first()
    return row.asDict()


if __name__ == "__main__":
    index, plan = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    session = SparkSession.builder.getOrCreate()
    print(json.dumps(load(session, ShardStage(index, plan), sys.argv[3])))
