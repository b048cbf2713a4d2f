"""What a dry run must say and leave alone, whatever the store; run against LanceDB and against a real Weaviate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_mlops.operators import VectorIndexOperator
from airflow_provider_mlops.payloads import VectorPlanPayload
from airflow_provider_mlops.vector import HashEmbedder, Records
from airflow_provider_mlops.vector.stores.base import version_name
from tests.unit.vector.task_contract import CONTEXT, TaskContract, documents


class PreviewContract(TaskContract):
    """Subclasses provide ``index``, see :class:`TaskContract`, and :meth:`traces`."""

    def traces(self) -> Any:
        """All that a write would change."""
        raise AssertionError

    def plan(self, docs: list[dict[str, Any]], **arguments: Any) -> Any:
        arguments = {"index": self.index, "dry_run": True, **arguments}
        before = self.traces()
        payload = VectorIndexOperator(task_id="t", source=Records(lambda: docs), **arguments).execute(CONTEXT)
        assert self.traces() == before, "a dry run wrote something"
        assert VectorPlanPayload.__required_keys__ == payload.keys()
        return payload

    def test_new_index(self) -> None:
        plan = self.plan(documents())
        assert (plan["kind"], plan["action"], plan["reason"]) == (
            "vector.plan",
            "built",
            "there is no version yet",
        )
        assert (plan["version"], plan["base_version"]) == (version_name(1, self.index.fingerprint()), None)
        assert (plan["documents_new"], plan["added"], plan["refusals"]) == (20, plan["chunks"], [])
        # Two of the three sentences are the same in every document.
        assert (plan["chunks"], plan["to_embed"]) == (60, 22)

    def test_plan_has_the_figures_of_the_run_that_follows(self) -> None:
        first = self.build(documents())
        changed = [*documents()[2:], {"id": "new", "text": "Something else."}]
        changed[0] = {"id": "doc2", "text": "Nothing as it was."}
        plan = self.plan(changed)
        assert (plan["action"], plan["base_version"], plan["live_version"]) == ("synced", first, first)
        documents_ = tuple(plan[f"documents_{what}"] for what in ("new", "changed", "deleted", "unchanged"))
        assert documents_ == (1, 1, 2, 17)
        task = VectorIndexOperator(task_id="t", index=self.index, source=Records(lambda: changed))
        done: Any = task.execute(CONTEXT)
        for figure in (
            "action",
            "version",
            "documents",
            "chunks",
            "added",
            "updated",
            "deleted",
            "unchanged",
        ):
            assert plan[figure] == done[figure], figure
        assert plan["to_embed"] == done["embedded"] == 2
        assert self.plan(changed)["action"] == "unchanged"

    def test_unchanged_source(self) -> None:
        version = self.build(documents())
        plan = self.plan(documents())
        assert (plan["action"], plan["version"]) == ("unchanged", version)
        assert plan["reason"] == f"version {version} holds what the source holds"
        assert (plan["documents_unchanged"], plan["to_embed"]) == (20, 0)

    def test_other_declaration_is_built_anew_and_says_why(self) -> None:
        version = self.build(documents())
        other = replace(self.index, embedder=HashEmbedder(32))
        plan = self.plan(documents(), index=other)
        assert (plan["action"], plan["version"]) == ("built", version_name(2, other.fingerprint()))
        assert f"the live one has {version[-8:]}" in plan["reason"]
        assert self.plan(documents(), index=other, mode="sync")["refusals"] != []
        assert self.plan(documents(), mode="rebuild")["reason"] == "mode='rebuild'"

    def test_interrupted_attempt_counts_and_stays_as_it_is(self) -> None:
        first = self.build(documents())
        name = version_name(2, self.index.fingerprint())
        with self.opened() as store:
            build = store.begin(name, self.index.layout(), first)
            rows = store.read(first)
            build.upsert(list(rows.rows([chunk for chunk, _, _ in rows.scan()]).values()))
            build.flush()
        more = [*documents(), {"id": "new", "text": "Something else."}]
        plan = self.plan(more, activate=False)
        assert (plan["version"], plan["to_embed"], plan["in_place"]) == (name, 1, False)
        assert "goes on with" in plan["reason"]
        with self.opened() as store:
            store.resume(name).reject()
        plan = self.plan(more, activate=False)
        assert (plan["version"], plan["to_embed"]) == (name, 1)
        assert "which is rejected" in plan["reason"]

    def test_what_would_refuse_the_run_is_said_and_not_raised(self) -> None:
        self.build(documents())
        plan = self.plan([*documents()[:10], {"id": "", "text": "x"}])
        first, second = plan["refusals"]
        assert first.startswith("TooManyBadRecords: ")
        assert second.startswith("TooManyDeletes: ")
        assert (plan["documents_deleted"], plan["bad"]) == (10, 1)
        assert self.plan(documents()[:10], max_delete_fraction=0.5)["refusals"] == []

    def test_nothing_is_kept_beside_the_index_either(self, tmp_path: Path) -> None:
        self.plan(
            [*documents(), {"id": "", "text": "x"}],
            dead_letters=str(tmp_path / "letters" / "bad.jsonl"),
            embedding_cache=str(tmp_path / "cache" / "vectors.sqlite"),
        )
        assert not (tmp_path / "letters").exists()
        assert not (tmp_path / "cache").exists()

    def test_cached_texts_are_not_counted(self, tmp_path: Path) -> None:
        cache = str(tmp_path / "vectors.sqlite")
        self.build(documents(), embedding_cache=cache)
        assert self.plan(documents(), mode="rebuild", embedding_cache=cache)["to_embed"] == 0
        assert self.plan(documents(), mode="rebuild")["to_embed"] == 22

    def test_run_at_work_is_no_obstacle(self) -> None:
        self.build(documents())
        with self.opened() as store, store.lease("another run"):
            assert self.plan(documents())["action"] == "unchanged"
