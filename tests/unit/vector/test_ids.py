"""Ids and hashes must never change: every index would be written anew."""

from __future__ import annotations

from airflow_provider_mlops.vector import ids


def test_ids_are_the_same_on_every_machine_for_ever() -> None:
    assert ids.chunk_ids("Docs", "a", ["one", "two", "one"]) == [
        "53b80fe4-a9ef-5d38-835b-46859e344f28",
        "00a7c4f6-edb5-5f2d-a054-bc1326324c7c",
        "31ad3778-9a4b-54ef-88eb-f2ee82c3ed07",
    ]
    assert ids.digest(0, {"b": 1, "a": "é"}) == "22117cf981ff745e23df57a7695c40b4"


def test_id_depends_on_index_key_text_and_occurrence_but_not_on_place() -> None:
    base = ids.chunk_ids("Docs", "a", ["one", "two"])
    assert ids.chunk_ids("Docs", "a", ["zero", "one", "two"])[1:] == base
    assert not set(base) & set(ids.chunk_ids("Docs", "b", ["one", "two"]))
    assert not set(base) & set(ids.chunk_ids("Other", "a", ["one", "two"]))
    assert len(set(ids.chunk_ids("Docs", "a", ["one"] * 5))) == 5


def test_key_and_text_cannot_be_confused() -> None:
    assert ids.chunk_ids("Docs", "a\x1fb", ["c"]) != ids.chunk_ids("Docs", "a", ["b\x1fc"])


def test_digest_sees_place_properties_and_vector_and_no_order() -> None:
    assert ids.digest(0, {"a": 1, "b": 2}) == ids.digest(0, {"b": 2, "a": 1})
    states = [
        ids.digest(0, {"a": 1}),
        ids.digest(1, {"a": 1}),
        ids.digest(0, {"a": "1"}),
        ids.digest(0, {"a": None}),
        ids.digest(0, {"a": 1}, b"\0"),
    ]
    assert len(set(states)) == len(states)


def test_tenants_of_chunks() -> None:
    chunks = [ids.address(tenant, f"chunk-{number}") for number, tenant in enumerate(["a", None, "b", "a"])]
    assert ids.tenants(chunks) == {"a", "b"}
    assert ids.tenants(chunks[1:2]) == ids.tenants([]) == set()
