"""What shards have put into a version before its run, and how far the run may rely on it. Pure decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_mlops.errors import InvalidArgument
from airflow_provider_mlops.vector.sync_plan import Mode

PLAN_KIND = "vector.shard_plan"
SHARD_KIND = "vector.shard"


@dataclass(frozen=True, slots=True)
class Preloaded:
    """The version that shards have filled.

    :param version: its name.
    :param token: of the lease that they worked under; ``None`` if there was nothing to load.
    :param whole: all of them came, at their first try, each of their writes was confirmed at once, each chunk was
        found by its own vector, and the index was in order before.
    """

    version: str
    token: str | None
    whole: bool

    def vouched(self, continues: str | None) -> bool:
        """Whether what the shards wrote need not be looked up again.

        :param continues: token of the tenure that the run has taken over. If it is the shards' own, nobody has
            written since: not another run, and not an earlier try of this one.
        """
        return self.whole and self.token is not None and continues == self.token


@dataclass(frozen=True, slots=True)
class Gathered:
    """The payloads of all shards, or that of their plan alone, as one.

    :param holder: name in the lease that plan, shards and run share.
    :param mode: of the plan.
    :param absent: shards that did not say anything.
    """

    preloaded: Preloaded
    holder: str
    mode: Mode
    absent: list[int]
    chunks: int = 0
    embedded: int = 0
    cached: int = 0
    healed: int = 0
    tokens: int | None = None
    cost: float | None = None

    def added_to(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What the shards spent, together with what the run's payload says of itself."""
        spent: dict[str, Any] = {
            name: payload[name] + getattr(self, name) for name in ("embedded", "cached", "healed")
        }
        return spent | {name: _total((payload[name], getattr(self, name))) for name in ("tokens", "cost")}


def gather(index: str, loaded: Any) -> Gathered:
    """Put together what plan or shards have returned.

    :param index: name of the index.
    :param loaded: the payload of one task, or those of several.
    :raises InvalidArgument: there is none, one is of another kind or index, or they belong to different plans.
    """
    payloads = [loaded] if isinstance(loaded, Mapping) else _listed(index, loaded)
    if not payloads:
        raise InvalidArgument(
            f"Index {index!r}: loaded holds no payload: no shard has come to its end",
            next_step="Clear the shards; or pass the plan's output, which is enough.",
        )
    for payload in payloads:
        kind = payload.get("kind") if isinstance(payload, Mapping) else type(payload).__name__
        if kind not in (PLAN_KIND, SHARD_KIND) or payload["index"] != index:
            raise InvalidArgument(
                f"Index {index!r}: loaded holds a payload of kind {kind!r}, or of another index",
                next_step="Pass the output of VectorShardOperator, or of VectorShardPlanOperator.",
            )
    first = payloads[0]
    if len({(payload["holder"], payload["version"], payload["mode"]) for payload in payloads}) > 1:
        raise InvalidArgument(f"Index {index!r}: loaded holds payloads of different plans")
    shards = [payload for payload in payloads if payload["kind"] == SHARD_KIND]
    came = {payload["shard"] for payload in shards}
    absent = [number for number in range(first["shards"]) if number not in came]
    return Gathered(
        preloaded=Preloaded(
            first["version"],
            first["token"],
            whole=not absent
            and len({payload["token"] for payload in shards}) == 1
            and all(payload["smooth"] and payload["clean"] for payload in shards),
        ),
        holder=first["holder"],
        mode=first["mode"],
        absent=absent,
        chunks=sum(payload["chunks"] for payload in shards),
        embedded=sum(payload["embedded"] for payload in shards),
        cached=sum(payload["cached"] for payload in shards),
        healed=sum(payload["healed"] for payload in shards),
        tokens=_total(payload["tokens"] for payload in shards),
        cost=_total(payload["cost"] for payload in shards),
    )


def _listed(index: str, loaded: Any) -> list[Any]:
    # Airflow hands the outputs of mapped tasks on as sequences of its own.
    if isinstance(loaded, str | bytes) or not isinstance(loaded, Iterable):
        raise InvalidArgument(
            f"Index {index!r}: loaded is a {type(loaded).__name__}",
            next_step="Pass the output of VectorShardOperator, or of VectorShardPlanOperator.",
        )
    return list(loaded)


def _total(parts: Iterable[Any]) -> Any:
    """Sum of those that are figures; ``None`` if none is."""
    figures = [part for part in parts if part is not None]
    return sum(figures) if figures else None
