"""Circuit: the planted circuit is seen, pruning only takes away, groups sum, and what is shown can be taken along."""

import json
import re
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import patchclamp as pc
from patchclamp.core.graph import Graph

NEURONS = "blocks.0.mlp.act/neurons"
CAT, ANIMAL, DECOY, ADJECTIVE = (f"{NEURONS}/{unit}@{place}" for unit, place in ((7, 3), (5, 3), (3, 3), (11, 2)))
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
ITEM = "[data-testid=item]"


@pytest.fixture(scope="module")
def answers(api):
    """Ids of the seeded answers, by method and prompt."""
    return {(row["method"], row["prompt"]): row["id"] for row in api("/graphs")["rows"]}


@pytest.fixture(scope="module")
def planted(answers):
    return answers["planted", "the old cat"]


def item(reader, id):
    return reader.page.locator(f'{ITEM}[data-id="{id}"]')


def shown(reader):
    return set(reader.all(ITEM, "data-id"))


def local(key):
    return key.removeprefix("cat/")


def value(reader, testid, attribute="data-value"):
    return float(reader.page.get_by_test_id(testid).get_attribute(attribute))


def weights(reader, testid):
    """The edges of the panel: what they lead to, with their weights."""
    rows = reader.page.get_by_test_id(testid).locator("tr").all()
    links = [parse_qs(urlsplit(row.locator("a").get_attribute("href")).query)["select"][0] for row in rows]
    return {link: float(row.get_attribute("data-value")) for link, row in zip(links, rows, strict=True)}


def test_the_lab_is_shown_the_answers_beginning_too(reader, planted):
    def answer(route):
        real = route.fetch()
        page = real.json()
        page["about"] |= {"beginning": " sat", "text": "the old cat sat"}
        route.fulfill(response=real, json=page)

    reader.page.route(f"**/api/graphs/{planted}*", answer)
    reader.visit(f"/graphs/{planted}?select={CAT}")
    assert "␣sat" in reader.page.get_by_test_id("beginning").inner_text().replace(" ", "␣")
    assert "text=the+old+cat+sat&" in reader.page.get_by_test_id("open-lab").get_attribute("href")


def test_what_is_left_of_m_is_told_apart_from_every_unit_at_zero(reader, api, answers):
    """Replacing the causes leaves m − measured; with every unit at zero m is the floor: two numbers."""
    one = answers["integrated gradients", "the old cat"]
    page = api(f"/graphs/{one}")
    left = page["graph"]["metric"] - page["graph"]["measured_together"]
    reader.visit(f"/graphs/{one}")
    reader.page.get_by_text("Details", exact=True).click()
    causes, floor = (
        float(reader.page.get_by_test_id(name).inner_text().replace("−", "-").removeprefix("m is "))
        for name in ("left", "floor")
    )
    assert causes == pytest.approx(left, abs=0.01)
    assert floor == pytest.approx(page["measures"]["metric_baseline"], abs=0.01)
    assert "random sets' mean" in reader.page.get_by_test_id("reading").inner_text()


def test_the_verdict_comes_first_and_two_numbers_follow(reader, answers):
    reader.visit(f"/graphs/{answers['integrated gradients', 'the old cat']}")
    verdict, lead, details = (
        reader.page.get_by_test_id(name).bounding_box() for name in ("verdict", "lead", "details")
    )
    assert verdict["y"] < lead["y"] < details["y"]
    assert reader.page.get_by_test_id("lead").locator(".num").count() == 2
    assert not reader.page.get_by_test_id("reading").is_visible()


def test_the_verdict_stands_in_words_with_its_rule(reader, api, answers):
    one = answers["integrated gradients", "the old cat"]
    page = api(f"/graphs/{one}")
    reader.visit(f"/graphs/{one}")
    assert page["graph"]["grade"] in ("holds", "weak", "no evidence")
    assert reader.page.get_by_test_id("verdict").inner_text() == page["graph"]["sentence"]
    reader.page.get_by_text("What the grades mean").click()
    assert reader.page.get_by_test_id("rule").inner_text() == page["rule"]
    # A graph that was not measured has none.
    reader.visit(f"/graphs/{answers['planted', 'the old cat']}")
    assert reader.page.get_by_test_id("verdict").count() == 0


# -- the list of answers ----------------------------------------------------------------------------------------------


def test_every_answer_is_listed_with_what_was_measured(reader, api):
    rows = api("/graphs")["rows"]
    reader.visit("/graphs")
    assert reader.all("[data-testid=answer]", "data-id") == [row["id"] for row in rows]
    measured = ["" if (m := row["measured_together"]) is None else str(m) for row in rows]
    assert reader.all("[data-testid=answer]", "data-measured") == [m.removesuffix(".0") for m in measured]
    reader.page.get_by_test_id("answer").nth(1).get_by_role("link").click()
    reader.page.get_by_test_id("circuit").wait_for()
    assert reader.page.get_by_test_id("circuit").get_attribute("data-id") == rows[1]["id"]


@pytest.mark.parametrize("screen", ["run", "unit"])
def test_runs_and_units_lead_here(reader, cat, answers, screen):
    id = answers["integrated gradients", "the old cat"]
    reader.visit(f"/runs/{id}" if screen == "run" else f"/units/{cat}")
    reader.page.locator(f"#page a[href^='/graphs/{id}']").first.click()
    reader.settle()
    assert CAT in shown(reader)
    assert item(reader, CAT).get_attribute("aria-selected") == ("true" if screen == "unit" else "false")


# -- pruning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["integrated gradients", "planted"])
def test_the_planted_circuit_is_there_and_the_decoy_is_not(reader, answers, method):
    reader.visit(f"/graphs/{answers[method, 'the old cat']}")
    assert {CAT, ANIMAL, "output"} <= shown(reader)
    assert DECOY not in shown(reader)
    hidden = int(reader.page.get_by_test_id("shown").get_attribute("data-hidden-nodes"))
    assert hidden > 0
    assert f"hidden: {hidden} nodes" in reader.page.get_by_test_id("shown").inner_text()
    reader.visit(f"/graphs/{answers[method, 'the old cat']}?keep=1")
    assert DECOY in shown(reader)
    assert "nothing is hidden" in reader.page.get_by_test_id("shown").inner_text()


def test_raising_pruning_never_adds_a_node_and_says_what_is_kept(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    found = []
    for keep in ("1", "0.9", "0.7", "0.3", "0.1"):
        reader.page.get_by_test_id("keep").fill(keep)
        page = api(f"/graphs/{planted}", keep=keep)
        reader.page.wait_for_function("k => document.querySelector('[data-testid=kept]').dataset.kept === k",
                                      arg=f"{page['kept']:g}")  # fmt: skip
        reader.settle()
        found.append(shown(reader))
        assert found[-1] == {local(node["key"]) for node in page["nodes"]}
        drawn = reader.page.get_by_test_id("edges").get_attribute("data-edges").split()
        assert int(drawn[0]) == len(page["edges"])
        assert float(drawn[1]) == pytest.approx(sum(edge["weight"] for edge in page["edges"]))
        assert f"{100 * page['kept']:.1f}".removesuffix(".0") in reader.page.get_by_test_id("kept").inner_text()
    assert all(less <= more for more, less in pairwise(found))
    assert len(found[-1]) < len(found[0])


def large(seeded_atlas, n_nodes, n_edges):
    """What the server answers of a large graph."""
    from test_atlas_circuit import made, with_graph

    atlas = pc.atlas.open(seeded_atlas)
    return asdict(atlas.graph(with_graph(atlas, made(n_nodes, n_edges, places=2)), keep=1.0))


def test_of_a_large_graph_a_page_shows_what_it_holds_and_says_so(reader, planted, seeded_atlas, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "integration"))
    answer = large(seeded_atlas, 3_000, 20_000)
    body = json.dumps(answer)
    reader.page.route(
        f"**/api/graphs/{planted}?*", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    reader.visit(f"/graphs/{planted}")
    said = reader.page.get_by_test_id("notice").inner_text()
    assert "nodes carry the share asked for: the 1,467 largest are shown" in said
    assert "edges run between shown nodes: the 6,000 largest are shown" in said
    # Of two edges between the same nodes one is drawn, their sum.
    pairs, total = reader.page.get_by_test_id("edges").get_attribute("data-edges").split()
    drawn = [edge for edge in answer["edges"] if edge["source"] != edge["target"]]
    assert int(pairs) == len({(edge["source"], edge["target"]) for edge in drawn})
    assert float(total) == pytest.approx(sum(edge["weight"] for edge in drawn))
    # Alive: a cell opens, a node is chosen and its edges are told.
    before = len(shown(reader))
    reader.page.get_by_test_id("more").first.click()
    reader.page.wait_for_function(f"n => document.querySelectorAll('{ITEM}').length > n", arg=before)
    reader.page.locator(f"{ITEM}[data-kind=neuron]").first.focus()
    reader.page.keyboard.press("Enter")
    reader.page.get_by_test_id("inputs-sum").or_(reader.page.get_by_test_id("outputs-sum")).first.wait_for()


# -- choosing and grouping --------------------------------------------------------------------------------------------


def test_a_node_is_told_with_what_flows_in_and_out(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    item(reader, CAT).click()
    page = api(f"/graphs/{planted}", keep=1)
    node = next(n for n in page["nodes"] if local(n["key"]) == CAT)
    assert value(reader, "predicted") == node["score"]
    assert value(reader, "activation") == node["value"]
    into = {local(e["source"]): e["weight"] for e in page["edges"] if local(e["target"]) == CAT}
    assert weights(reader, "inputs") == into
    assert [abs(w) for w in weights(reader, "inputs").values()] == sorted(map(abs, into.values()), reverse=True)
    assert weights(reader, "outputs") == {"output": 8.0}
    # A row leads to the node at its other end, the link to the unit's page.
    reader.page.get_by_test_id("inputs").get_by_role("link", name="head 0").click()
    assert item(reader, "blocks.0.attn.z/heads/0@3").get_attribute("aria-selected") == "true"
    item(reader, CAT).click()
    reader.page.get_by_test_id("unit-link").click()
    reader.page.get_by_test_id("unit-page").wait_for()
    assert reader.page.get_by_test_id("unit-page").get_attribute("data-key") == node["unit"]


def test_grouping_sums_scores_and_edges_and_ungrouping_undoes_it(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    page = api(f"/graphs/{planted}", keep=1)
    item(reader, CAT).click()
    item(reader, ANIMAL).click(modifiers=["Shift"])
    reader.page.get_by_test_id("group").click()
    pair = {CAT, ANIMAL}
    group = item(reader, "group:1")
    assert not pair & shown(reader)
    total = sum(n["score"] for n in page["nodes"] if local(n["key"]) in pair)
    assert float(group.get_attribute("data-score")) == pytest.approx(total)
    assert value(reader, "predicted") == pytest.approx(total)
    for testid, near, far in (("inputs", "target", "source"), ("outputs", "source", "target")):
        sums: dict[str, float] = {}
        for edge in page["edges"]:
            if local(edge[near]) in pair:
                sums[local(edge[far])] = sums.get(local(edge[far]), 0) + edge["weight"]
        assert weights(reader, testid) == pytest.approx(sums)
        assert value(reader, f"{testid}-sum", "data-sum") == pytest.approx(sum(sums.values()))
    # Two edges from the input became one, two to the output too, two from the head too.
    drawn = reader.page.get_by_test_id("edges").get_attribute("data-edges").split()
    assert int(drawn[0]) == len(page["edges"]) - 3
    assert float(drawn[1]) == pytest.approx(sum(edge["weight"] for edge in page["edges"]))
    reader.page.get_by_test_id("ungroup").click()
    assert pair <= shown(reader)
    assert item(reader, CAT).get_attribute("aria-selected") == "true"
    reader.page.go_back()
    group.wait_for()


def test_the_address_is_the_state(reader, opened, planted, answers):
    other = answers["integrated gradients", "the young dog"]
    reader.visit(f"/graphs/{planted}")
    reader.page.get_by_test_id("keep").fill("1")
    reader.page.wait_for_url("**keep=1*")
    reader.settle()
    reader.page.get_by_test_id("suggested").get_by_role("button").first.click()
    name = reader.page.get_by_test_id("group-name")
    name.fill("adjectives: 50 %; old, young")
    name.press("Enter")
    item(reader, CAT).click()
    reader.page.get_by_test_id("with").select_option(other)
    reader.page.get_by_test_id("view-list").click()
    reader.page.get_by_test_id("beside").wait_for()
    again = opened()
    again.visit(reader.address)
    again.page.get_by_test_id("beside").wait_for()
    for one in (reader, again):
        assert one.page.get_by_test_id("group-name").input_value() == "adjectives: 50 %; old, young"
        assert {CAT, DECOY, "group:1"} <= shown(one)
        assert ADJECTIVE not in shown(one)
        assert one.page.get_by_test_id("list").is_visible()
        assert one.page.get_by_role("checkbox", checked=True).count() == 1
        assert one.page.get_by_test_id("with").input_value() == other


def test_two_answers_side_by_side(reader, api, planted, answers):
    here, there = planted, answers["integrated gradients", "the young dog"]
    reader.visit(f"/graphs/{here}?with={there}")
    reader.page.get_by_test_id("beside").wait_for()
    units = [
        {local(n["key"]).split("@")[0] for n in api(f"/graphs/{id}")["nodes"] if n["kind"] in ("neuron", "head")}
        for id in (here, there)
    ]
    parts = {"both": units[0] & units[1], "here": units[0] - units[1], "there": units[1] - units[0]}
    for part, expected in parts.items():
        rows = f"[data-testid=compare-{part}] tbody tr"
        assert set(reader.all(rows, "data-unit")) == expected
    row = f'[data-testid=compare-both] tr[data-unit="{NEURONS}/5"]'
    assert float(reader.all(row, "data-here")[0]) == pytest.approx(-3, abs=0.01)
    assert float(reader.all(row, "data-there")[0]) == pytest.approx(3.02, abs=0.01)


def test_what_is_exported_is_read_again_with_its_groups(reader, planted, tmp_path, api):
    reader.visit(f"/graphs/{planted}?keep=0.8")
    item(reader, CAT).click()
    item(reader, ANIMAL).click(modifiers=["Control"])
    reader.page.keyboard.press("g")
    name = reader.page.get_by_test_id("group-name")
    name.fill("who sits, who runs")
    name.press("Enter")
    with reader.page.expect_download() as download:
        reader.page.get_by_test_id("export").click()
    download.value.save_as(tmp_path / "graph.json")
    graph = Graph.load(tmp_path / "graph.json")
    page = api(f"/graphs/{planted}", keep=0.8)
    assert [node.key for node in graph.nodes] == [node["key"] for node in page["nodes"]]
    assert [(e.source, e.target, e.weight, e.slot, e.measured) for e in graph.edges] == [
        tuple(e.values()) for e in page["edges"]
    ]
    [group] = graph.about["groups"]
    assert group == {"name": "who sits, who runs", "nodes": [f"cat/{CAT}", f"cat/{ANIMAL}"], "score": pytest.approx(5)}
    assert graph.about["shown"]["kept"] == page["kept"]
    assert graph.metric["kind"] == "logit_difference"
    assert graph.subject == page["subject"]


# -- every reader -----------------------------------------------------------------------------------------------------


def test_by_keyboard_alone(reader, planted):
    keys = reader.page.keyboard
    reader.visit("/")
    keys.press("a")
    reader.page.wait_for_url("**/graphs")
    reader.settle()
    link = reader.page.locator(f"[data-id={planted}] a")
    for _ in range(40):
        keys.press("Tab")
        if link.evaluate("e => e === document.activeElement"):
            break
    keys.press("Enter")
    reader.page.wait_for_url(f"**/{planted}")
    reader.settle()
    focused = "document.activeElement.getAttribute('data-id')"
    for _ in range(40):
        keys.press("Tab")
        if reader.page.evaluate(focused):
            break
    # The largest is where one begins; the next in the row is the neuron against it.
    assert reader.page.evaluate(focused) == CAT
    keys.press("Space")
    keys.press("ArrowRight")
    assert reader.page.evaluate(focused) == ANIMAL
    keys.press("Space")
    assert reader.all(f"{ITEM}[aria-selected=true]", "data-id") == [CAT, ANIMAL]
    keys.press("g")
    assert "group:1" in shown(reader)
    keys.press("Escape")
    assert reader.all(f"{ITEM}[aria-selected=true]", "data-id") == []
    keys.press("Tab")


def test_the_list_is_the_picture_in_words(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    picture = dict(zip(reader.all(ITEM, "data-id"), reader.all(ITEM, "data-score"), strict=True))
    reader.page.get_by_test_id("view-list").click()
    reader.page.get_by_test_id("list").wait_for()
    assert dict(zip(reader.all(ITEM, "data-id"), reader.all(ITEM, "data-score"), strict=True)) == picture
    for id in (CAT, ANIMAL):
        item(reader, id).get_by_role("checkbox").press("Space")
    reader.page.keyboard.press("g")
    item(reader, "group:1").wait_for()


def test_nodes_do_not_lie_on_one_another(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1&group={CAT}%20{ANIMAL}%20:%20both")
    boxes = [one.bounding_box() for one in reader.page.locator(f"{ITEM} .face").all()]
    assert len(boxes) == len(shown(reader))
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            apart_x = max(a["x"], b["x"]) - min(a["x"] + a["width"], b["x"] + b["width"])
            apart_y = max(a["y"], b["y"]) - min(a["y"] + a["height"], b["y"] + b["height"])
            assert max(apart_x, apart_y) >= 0


def test_kinds_and_signs_differ_without_colour(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    outlines = {}
    for one in reader.page.locator(ITEM).all():
        path = one.locator("path").get_attribute("d")
        outlines.setdefault(one.get_attribute("data-kind"), re.sub(r"[0-9. ]", "", path).replace("-", ""))
        hatched = "url" in one.locator("path").evaluate("e => getComputedStyle(e).fill")
        assert hatched == (float(one.get_attribute("data-score")) < 0)
    assert set(outlines) == {"neuron", "head", "input", "output", "error"}
    shapes = reader.page.locator("[data-testid=legend] path").evaluate_all("all => all.map(e => e.getAttribute('d'))")
    assert len(set(shapes)) == len(outlines)


@pytest.mark.parametrize("screen", ["/graphs", "grid", "list"])
def test_names_place_and_contrast(opened, planted, answers, screen):
    state = f"keep=1&select={CAT}%20{ANIMAL}&group={ADJECTIVE}%20{NEURONS}/11@3%20:%20adjectives"
    address = (
        screen
        if screen[0] == "/"
        else f"/graphs/{planted}?view={screen}&{state}&with={answers['integrated gradients', 'the young dog']}"
    )
    reader = opened()
    for width in (1280, 640, 400):
        reader.page.set_viewport_size({"width": width, "height": 900})
        reader.visit(address)
        if screen[0] != "/":
            reader.page.get_by_test_id("beside").wait_for()
        for check in ("nameless", "overlaps", "unreadable", "beyond"):
            assert reader.check(check) == [], (width, check)
    levels = reader.page.evaluate("[...document.querySelectorAll('#page :is(h1, h2, h3)')].map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    reader.page.emulate_media(color_scheme="dark")
    assert reader.check("unreadable") == []


def test_a_narrow_window_begins_with_the_list(opened, planted):
    reader = opened(viewport={"width": 400, "height": 800})
    reader.visit(f"/graphs/{planted}")
    assert reader.page.get_by_test_id("list").is_visible()
    reader.page.get_by_test_id("view-grid").click()
    reader.page.get_by_test_id("grid").wait_for()
    assert CAT in shown(reader)


def test_hostile_prompts_tokens_and_names_appear_as_text(reader, planted):
    def answer(route):
        real = route.fetch()
        route.fulfill(response=real, body=re.sub(r" cat(?=\")", lambda _: json.dumps(f" {HOSTILE}")[1:-1], real.text())
                      .replace("the old", json.dumps(HOSTILE)[1:-1]))  # fmt: skip

    reader.page.route("**/api/graphs**", answer)
    for address in ("/graphs", f"/graphs/{planted}?keep=1"):
        reader.visit(address)
        assert reader.page.locator("#page img, #page script").count() == 0
        assert "onerror" in reader.page.locator("#page").inner_text()
    item(reader, CAT).click()
    item(reader, ANIMAL).click(modifiers=["Shift"])
    reader.page.keyboard.press("g")
    reader.page.get_by_test_id("group-name").fill(HOSTILE)
    reader.page.get_by_test_id("group-name").press("Enter")
    reader.page.wait_for_url("**img**")
    assert HOSTILE in reader.page.get_by_test_id("panel").inner_text()
    reader.page.reload()
    reader.settle()
    assert HOSTILE in reader.page.get_by_test_id("panel").inner_text()
    assert reader.page.locator("#page img, #page script").count() == 0
    assert not reader.page.title().startswith("taken")


@pytest.mark.parametrize(
    "query",
    [
        "keep=no&group=%20:%20&group=x&group=%25zz%20b%20:%20a&only=pinned",
        "select=%ff&group=:&with=none&view=other",
        "keep=9&pin=%ff",
    ],
)
def test_a_tampered_address_is_no_blank_page(reader, planted, query):
    reader.visit(f"/graphs/{planted}?{query}")
    assert CAT in shown(reader)
    reader.faults = [fault for fault in reader.faults if "404" not in fault]  # of the answer to compare with


# -- verify -----------------------------------------------------------------------------------------------------------


def test_without_a_model_verify_says_how_to_have_one(reader, planted):
    reader.visit(f"/graphs/{planted}?select={CAT}")
    assert "--model" in reader.page.get_by_test_id("unattached").inner_text()
    assert reader.page.get_by_test_id("verify-button").count() == 0


def test_verify_prints_what_was_measured_beside_what_was_predicted_and_the_control(reader, lab_server, answers):
    reader.base = lab_server
    reader.visit(f"/graphs/{answers['integrated gradients', 'the old cat']}?select={CAT}")
    reader.page.get_by_test_id("verify-button").click()
    reader.page.get_by_test_id("verified").wait_for()
    assert value(reader, "verified", "data-predicted") == pytest.approx(8.05, abs=0.01)
    assert value(reader, "verified", "data-measured") == pytest.approx(8.0, abs=0.01)
    low, high = (value(reader, "verified", f"data-{end}") for end in ("low", "high"))
    assert low <= high < 8
    assert 0 < value(reader, "verified", "data-p") <= 1
    said = reader.page.get_by_test_id("verified").inner_text()
    assert "+8.05" in said
    assert "+8.00" in said
    assert re.search(r"Holds: .*none of 99 random sets does as much \(p = 0\.01\)", said)
    # Another choice is another question: the old answer is gone.
    item(reader, ANIMAL).click(modifiers=["Shift"])
    reader.page.get_by_test_id("verified").wait_for(state="detached")
    reader.page.get_by_test_id("verify-button").click()
    reader.page.get_by_test_id("verified").wait_for()
    assert value(reader, "verified", "data-measured") == pytest.approx(5.0, abs=0.05)
    # What goes in and comes out cannot be replaced.
    reader.page.keyboard.press("Escape")
    item(reader, "output").click()
    assert reader.page.get_by_test_id("verify-button").is_disabled()
