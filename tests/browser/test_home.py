"""Home shows what `patchclamp atlas info` prints, and is light."""

import json
import re
import subprocess
import sys


def test_counts_are_those_of_the_command_line(reader, seeded_atlas):
    done = subprocess.run(
        [sys.executable, "-m", "patchclamp", "atlas", "info", str(seeded_atlas), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = json.loads(done.stdout)
    reader.visit("/")
    names = ("n_units", "n_described", "n_scored", "n_silent", "n_examples", "bytes")
    shown = {name: int(reader.all(f"[data-testid={name}]", "data-value")[0]) for name in names}
    assert shown == {name: printed[name] for name in names}
    assert reader.page.locator("[data-testid=sites] tbody tr").count() == len(printed["sites"])
    assert printed["baked"] in reader.page.locator("[data-testid=command]").first.inner_text()


def test_first_visit_is_light(reader):
    reader.visit("/")
    assert reader.page.locator("[data-testid=begin] li").count() > 0
    assert 0 < reader.received < 80_000


def test_a_site_leads_to_its_units(reader, api):
    site = api("/atlas")["sites"][0]
    reader.visit("/")
    reader.page.locator("[data-testid=sites] tbody a").first.click()
    reader.settle()
    assert reader.address == f"/units?site={site['site']}"
    assert reader.all("[data-testid=shown]", "data-total") == [str(site["units"])]


def test_nothing_that_is_zero_is_shown(reader, api):
    page = api("/atlas")
    reader.visit("/")
    shown = reader.page.locator("main").inner_text()
    assert not re.search(r"(^|[^0-9.,])0\s?%", shown)
    zero = [name for name in ("n_units", "n_described", "n_scored", "n_silent", "n_examples") if not page[name]]
    assert all(reader.page.get_by_test_id(name).count() == 0 for name in zero)
    heads = reader.page.locator("[data-testid=sites] thead th").all_inner_texts()
    assert ("described" in heads) == any(site["described"] for site in page["sites"])
    assert ("never fired" in heads) == any(site["silent"] for site in page["sites"])


def test_an_explained_answer_leads_to_its_circuit(reader, api):
    rows = api("/atlas")["explained"]
    reader.visit("/")
    links = reader.page.locator("[data-testid=explained] a")
    assert links.count() == len(rows) >= 2
    links.first.click()
    reader.settle()
    assert reader.address == f"/graphs/{rows[0]['id']}"
    assert rows[0]["prompt"] in reader.page.locator("main").inner_text()


def test_units_to_begin_with_are_causes_first_and_each_shows_what_is_measured(reader, api):
    begin = api("/atlas")["begin"]
    measured = {}
    for graph in api("/atlas")["explained"]:
        for node in api(f"/graphs/{graph['id']}")["nodes"]:
            key = node["key"].split("@")[0]
            size = abs(node["measured"] if node.get("measured") else node["score"])
            measured[key] = max(size, measured.get(key, 0.0))
    causes = [one["row"]["key"] for one in begin if one["why"].startswith("a cause of")]
    assert causes
    assert [one["row"]["key"] for one in begin][: len(causes)] == causes
    assert [measured[key] for key in causes] == sorted((measured[key] for key in causes), reverse=True)
    reader.visit("/")
    cards = reader.page.locator("[data-testid=begin] li")
    assert reader.all("[data-testid=begin] li", "data-key") == [one["row"]["key"] for one in begin]
    for card, one in zip(cards.all(), begin, strict=True):
        line = card.get_by_test_id("line").inner_text()
        assert all(part["text"] in line for part in one["row"]["line"] if part["of"] != "fires")
        example = one["row"]["example"]
        assert card.locator(".peak .mark").get_attribute("data-text") == example["tokens"][example["mark"]]


def test_the_picture_of_the_network_counts_every_unit_and_leads_to_it(reader, api):
    page = api("/atlas")
    reader.visit("/")
    boxes = reader.page.locator("[data-testid=network] a")
    counts = [int(n) for n in reader.all("[data-testid=network] a", "data-units")]
    assert sum(counts) == page["n_units"]
    boxes.last.click()
    reader.settle()
    assert reader.all("[data-testid=shown]", "data-total") == [str(counts[-1])]


def test_without_a_model_the_command_stands_where_one_would_ask(reader, lab_opened):
    reader.visit("/")
    assert "--model organism:cat" in reader.page.get_by_test_id("ask-first").inner_text()
    attached = lab_opened()
    attached.visit("/")
    link = attached.page.get_by_test_id("ask-first").get_by_role("link")
    assert link.get_attribute("href") == "/ask"


def test_the_five_steps_are_walked_by_keyboard_and_stay_closed(reader):
    reader.visit("/")
    steps = reader.page.locator("[data-testid=path] li")
    assert [text.split("\n")[0] for text in steps.all_inner_texts()] == [
        "Explain", "Node", "Verify", "Clamp", "Random control",
    ]  # fmt: skip
    steps.first.get_by_role("checkbox").focus()
    reader.page.keyboard.press("Space")
    assert reader.page.locator("[data-testid=path] li.done").count() == 1
    reader.page.reload()
    reader.settle()
    assert reader.page.locator("[data-testid=path] li.done").get_attribute("data-step") == "1"
    reader.page.get_by_test_id("path-close").focus()
    reader.page.keyboard.press("Enter")
    reader.page.reload()
    reader.settle()
    assert reader.page.get_by_test_id("path").count() == 0
    reader.page.get_by_test_id("path-open").click()
    assert reader.page.get_by_test_id("path").count() == 1


def test_help_explains_the_words_that_stand_on_the_page(reader, cat):
    reader.visit(f"/units/{cat}")
    reader.page.keyboard.press("?")
    terms = reader.page.get_by_test_id("terms")
    terms.wait_for()
    words = terms.locator("dt").all_inner_texts()
    assert "AUROC" in words
    assert "unit" in words
    # Words of training stand on no unit's page.
    assert not [word for word in words if "BWT" in word or "stream" in word]
