"""Runs: whatever a screen shows comes from a run that exists, and says how to make it again."""

import pytest


@pytest.mark.parametrize("screen", ["/", "/units", "unit", "/runs"])
def test_every_source_is_a_run(reader, cat, api, screen):
    reader.visit(f"/units/{cat}" if screen == "unit" else screen)
    reader.page.get_by_test_id("source").click()
    reader.page.get_by_test_id("run-page").wait_for()
    run = reader.page.get_by_test_id("run-page").get_attribute("data-run")
    assert run in {row["id"] for row in api("/runs")["rows"]}


def test_the_list_is_that_of_the_api(reader, api):
    rows = api("/runs")["rows"]
    reader.visit("/runs")
    assert reader.all("[data-testid=run]", "data-run") == [row["id"] for row in rows]
    text = reader.page.get_by_test_id("runs").inner_text()
    assert all(row["command"] in text for row in rows)


def test_a_run_says_how_to_make_it_again(reader, api):
    base = next(row for row in api("/runs")["rows"] if row["id"].startswith("base-"))
    page = api(f"/runs/{base['id']}")
    reader.visit(f"/runs/{base['id']}")
    text = reader.page.locator("#page").inner_text()
    commands = reader.page.get_by_test_id("command").all_inner_texts()
    assert base["command"] in commands
    assert page["rebuild"].strip() in [command.strip() for command in commands]
    for shown in (*page["versions"].values(), *page["hashes"].values(), *map(str, page["seeds"].values())):
        assert shown in text


def test_an_explained_answer_leads_to_its_units(reader, api):
    graph = api("/graphs")["rows"][0]
    reader.visit(f"/runs/{graph['id']}")
    rows = reader.page.get_by_test_id("nodes").locator("tbody tr")
    nodes = api(f"/graphs/{graph['id']}", max_nodes=30)["nodes"]
    assert rows.count() == len(nodes)
    rows.get_by_role("link").first.click()
    reader.page.get_by_test_id("unit-page").wait_for()
    assert reader.page.get_by_test_id("unit-page").get_attribute("data-key") in {node["unit"] for node in nodes}
