"""One question for many pipelines: a list of what has changed, instead of one look at each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from airflow_provider_mlops.errors import RemoteObjectNotFound
from airflow_provider_mlops.external_job.adapter import JobHandle, JobStatus
from airflow_provider_mlops.gitlab.client import GitlabClient
from airflow_provider_mlops.gitlab.entities import Entity, created_of, parse_time, pipeline_id_of

#: Changes may be listed this late, or carry a time of another clock.
_OVERLAP = timedelta(minutes=1)

#: A pipeline that has run for this long without a change is looked at with those below it.
_STILL = timedelta(minutes=1)

#: Pipelines looked at one by one in a round: those not seen yet, and the one not looked at for longest, in
#: case its change was never listed.
_SINGLE_LOOKS = 5
_REFRESHED = 1


class PipelineWatch:
    """Keeps the last known entity of every watched pipeline of one project.

    :param state_of: turns an entity into the engine's state.
    :param deep_state_of: the same, with a look at the pipelines below it.
    """

    def __init__(
        self,
        client: GitlabClient,
        state_of: Callable[[Entity], Awaitable[JobStatus]],
        deep_state_of: Callable[[Entity], Awaitable[JobStatus]],
    ) -> None:
        self._client = client
        self._state_of = state_of
        self._deep_state_of = deep_state_of
        self._seen: dict[int, Entity] = {}
        self._states: dict[int, tuple[str, JobStatus]] = {}
        self._changed_until: datetime | None = None

    async def statuses(self, handles: Sequence[JobHandle]) -> Mapping[int, JobStatus | None]:
        """States by index; an index that is missing was not learned this time."""
        wanted = {pipeline_id_of(handle): created_of(handle) for handle in handles}
        self._seen = {
            pipeline_id: entity for pipeline_id, entity in self._seen.items() if pipeline_id in wanted
        }
        self._states = {
            pipeline_id: state for pipeline_id, state in self._states.items() if pipeline_id in wanted
        }
        await self._list_changes(wanted)
        gone = await self._look_singly(wanted)
        states: dict[int, JobStatus | None] = {}
        for index, handle in enumerate(handles):
            pipeline_id = pipeline_id_of(handle)
            if pipeline_id in gone:
                states[index] = None
            elif (entity := self._seen.get(pipeline_id)) is not None:
                try:
                    states[index] = await self._state(entity)
                except RemoteObjectNotFound:
                    # Deleted meanwhile, or not readable everywhere: nobody else's watching ends with it.
                    del self._seen[pipeline_id]
        return states

    async def _list_changes(self, wanted: Mapping[int, float]) -> None:
        if self._changed_until is None:
            self._changed_until = datetime.now(UTC)
        asked = self._client.told_time
        after = self._changed_until - _OVERLAP
        unseen = [created for number, created in wanted.items() if created and number not in self._seen]
        if len(unseen) > _SINGLE_LOOKS:
            # One longer list is cheaper than a look at each: what changes is listed, and creation is a change.
            after = min(after, datetime.fromtimestamp(min(unseen), UTC))
        for row in await self._client.pipelines(updated_after=after.isoformat(), order_by="updated_at"):
            updated = parse_time(row.get("updated_at"))
            if updated is not None:
                self._changed_until = max(self._changed_until, updated)
            if row["id"] in wanted:
                self._seen[row["id"]] = row
        if asked is not None:
            # Nothing older is news in the next round, also where nothing changes for long.
            self._changed_until = max(self._changed_until, asked)

    async def _look_singly(self, wanted: Mapping[int, float]) -> set[int]:
        unseen = sorted(wanted.keys() - self._seen.keys())[:_SINGLE_LOOKS]
        # Dicts keep their order of insertion: the first were looked at longest ago.
        oldest = list(self._seen)[:_REFRESHED]
        gone = set()
        for pipeline_id in (*unseen, *oldest):
            self._seen.pop(pipeline_id, None)
            try:
                entity = self._seen[pipeline_id] = await self._client.pipeline(pipeline_id)
            except RemoteObjectNotFound:
                gone.add(pipeline_id)
                continue
            if pipeline_id in oldest and _stands_still(entity):
                # What waits below a running pipeline changes nothing about itself that a list would show.
                self._states[pipeline_id] = (_version(entity), await self._deep_state_of(entity))
        return gone

    async def _state(self, entity: Entity) -> JobStatus:
        # A failed pipeline's jobs are asked for once, not in every round.
        known = self._states.get(entity["id"])
        version = _version(entity)
        if known is None or known[0] != version:
            known = (version, await self._state_of(entity))
            self._states[entity["id"]] = known
        return known[1]


def _version(entity: Entity) -> str:
    return f"{entity['status']} {entity.get('updated_at')}"


def _stands_still(entity: Entity) -> bool:
    updated = parse_time(entity.get("updated_at"))
    return entity["status"] == "running" and (updated is None or datetime.now(UTC) - updated > _STILL)
