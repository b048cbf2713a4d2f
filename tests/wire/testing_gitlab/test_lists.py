"""Lists of pipelines and jobs: filters, orders and pages."""

from __future__ import annotations

import itertools

import httpx
import pytest

from airflow_provider_mlops.testing.gitlab import Fail, Knobs, Scenario

P = "/projects/1"


@pytest.fixture
def server(start):
    return start(Scenario({"train": []}))


@pytest.fixture
def ask(server, talk):
    return talk(server)


def test_scopes_and_unknown_values(server, ask):
    server.project.repository.git("branch", "side")
    assert ask("POST", f"{P}/repository/tags", json={"tag_name": "v1", "ref": "main"}).status_code == 201
    made = {}
    for ref in ("main", "main", "side", "v1"):
        made.setdefault(ref, []).append(ask("POST", f"{P}/pipeline", json={"ref": ref}).json()["id"])
        server.wait(made[ref][-1])

    def ids(**filters):
        return [row["id"] for row in ask("GET", f"{P}/pipelines", params=filters).json()]

    assert ids(scope="branches") == [*made["side"], made["main"][1]]
    assert ids(scope="tags") == made["v1"]
    assert ids(scope="finished", sort="asc") == sorted(itertools.chain(*made.values()))
    assert ids(scope="running") == ids(scope="pending") == ids(status="waiting_for_callback") == []
    assert ids(order_by="ref", sort="asc")[-1] == made["v1"][0]
    for wrong in ("scope=all", "status=done", "source=nowhere", "sort=up", "per_page=0", "per_page=x"):
        assert ask("GET", f"{P}/pipelines?{wrong}").status_code == 400, wrong
    assert ask("GET", f"{P}/pipelines?page=0").status_code == 200


def test_a_status_of_jobs_that_does_not_exist_is_refused(server, ask):
    made = ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()
    server.wait(made["id"])
    jobs = f"{P}/pipelines/{made['id']}/jobs"

    assert ask("GET", f"{jobs}?scope=success").json()[0]["name"] == "train"
    assert ask("GET", f"{jobs}?scope[]=failed&scope[]=manual").json() == []
    refused = ask("GET", f"{jobs}?scope[]=done")
    assert (refused.status_code, refused.json()) == (400, {"error": "scope does not have a valid value"})
    assert ask("GET", f"{P}/jobs?scope[]=done").status_code == 400


def test_jobs_of_a_project_come_by_keyset_and_without_totals(start, talk, connect):
    server = start(Scenario({f"job-{number}": [] for number in range(5)}))
    ask = talk(server)
    for _ in range(2):
        server.wait(ask("POST", f"{P}/pipeline", json={"ref": "main"}).json()["id"])

    plain = ask("GET", f"{P}/jobs?per_page=3")
    assert "x-total" not in plain.headers
    assert plain.headers["x-next-page"] == "2"
    seen, url = [], f"{server.url}/api/v4{P}/jobs?pagination=keyset&order_by=id&per_page=3"
    while url:
        page = httpx.get(url, headers={"PRIVATE-TOKEN": server.token})
        assert "x-next-page" not in page.headers
        seen += [row["id"] for row in page.json()]
        url = page.links.get("next", {}).get("url")
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 10
    assert ask("GET", f"{P}/jobs?pagination=keyset&order_by=name").status_code == 405
    assert ask("GET", f"{P}/jobs?pagination=keyset&cursor=nonsense").status_code == 400
    iterated = connect(server).jobs.list(iterator=True, pagination="keyset", order_by="id", per_page=3)
    assert [job.id for job in iterated] == seen
    assert "x-page" in ask("GET", f"{P}/pipelines?pagination=keyset").headers


def test_links_carry_the_filters(start, talk):
    server = start(Scenario({"train": [Fail()]}), knobs=Knobs(runner_paused=True))
    ask = talk(server)
    for _ in range(3):
        ask("POST", f"{P}/pipeline", json={"ref": "main"})

    page = ask("GET", f"{P}/pipelines?ref=main&per_page=1&page=2")

    assert {*page.links} == {"prev", "next", "first", "last"}
    assert "ref=main" in page.links["next"]["url"]
    assert (page.headers["x-total"], page.headers["x-total-pages"]) == ("3", "3")
    assert (page.headers["x-prev-page"], page.headers["x-next-page"]) == ("1", "3")
    assert httpx.get(page.links["next"]["url"], headers={"PRIVATE-TOKEN": server.token}).json()


def test_of_thousands_of_pipelines_only_those_of_the_page_are_rendered(start, talk, monkeypatch):
    server = start(Scenario({"train": []}), knobs=Knobs(runner_paused=True))
    ask = talk(server)
    create = server.api.creator.create
    for _ in range(2_000):
        create(server.project, ref="main", source="api", user=server.user)
    entities, rendered = server.api.entities, []
    render = entities.pipeline_row
    monkeypatch.setattr(entities, "pipeline_row", lambda row: [rendered.append(row.id), render(row)][1])

    page = ask("GET", f"{P}/pipelines?per_page=100&updated_after=2020-01-01").json()

    assert [row["id"] for row in page] == rendered
    assert len(rendered) == 100
