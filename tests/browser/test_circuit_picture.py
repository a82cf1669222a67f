"""Circuit's picture: where nodes stand, what is written on them, that lines pass between them; zoom, pins, SVG."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from urllib.parse import unquote_plus

import httpx
import pytest

NEURONS = "blocks.0.mlp.act/neurons"
CAT, ANIMAL, DECOY = (f"{NEURONS}/{unit}@3" for unit in (7, 5, 3))
ITEM = "[data-testid=item]"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
BOXES = """all => all.map(e => {
  const of = (node) => { const b = node.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
  const texts = [...e.querySelectorAll("text")];
  return { id: e.dataset.id, kind: e.dataset.kind, layer: e.dataset.layer, box: of(e.querySelector(".face")),
           words: texts.map((t) => t.textContent), texts: texts.map(of) };
})"""


@pytest.fixture(scope="module")
def planted(api):
    """The id of the planted circuit."""
    return next(row["id"] for row in api("/graphs")["rows"] if row["method"] == "planted")


@pytest.fixture(scope="module")
def edges(pairs_server):
    """The id of the circuit of edges, over pairs."""
    rows = httpx.get(f"{pairs_server}/api/graphs").raise_for_status().json()["rows"]
    pages = [httpx.get(f"{pairs_server}/api/graphs/{row['id']}").raise_for_status().json() for row in rows]
    return next(page["graph"]["id"] for page in pages if page["about"]["level"] == "edge")


def cards(reader):
    """What is drawn, by id."""
    return {one["id"]: one for one in reader.page.locator(ITEM).evaluate_all(BOXES)}


def middle(card):
    left, top, right, bottom = card["box"]
    return (left + right) / 2, (top + bottom) / 2


def item(reader, id):
    return reader.page.locator(f'{ITEM}[data-id="{id}"]')


def exported(reader, path):
    with reader.page.expect_download() as download:
        reader.page.get_by_test_id("export-svg").click()
    download.value.save_as(path)
    return ElementTree.parse(path).getroot()


# -- where things stand -----------------------------------------------------------------------------------------------


def test_layers_rise_and_tokens_run_to_the_right(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    drawn = cards(reader)
    nodes = {node["key"].removeprefix("cat/"): node for node in api(f"/graphs/{planted}", keep=1)["nodes"]}
    assert set(drawn) == set(nodes)
    at = {id: middle(card) for id, card in drawn.items()}
    for (a, one), (b, other) in combinations(nodes.items(), 2):
        if None not in (one["layer"], other["layer"]) and one["layer"] != other["layer"]:
            assert (one["layer"] < other["layer"]) == (at[a][1] > at[b][1])
        if None not in (one["position"], other["position"]) and one["position"] != other["position"]:
            assert (one["position"] < other["position"]) == (at[a][0] < at[b][0])
    inner = [at[id][1] for id, node in nodes.items() if node["layer"] is not None]
    assert all(at[id][1] > max(inner) for id, node in nodes.items() if node["kind"] == "input")
    assert at["output"][1] < min(inner)


@pytest.mark.parametrize("keep", ["1", "0.8"])
def test_no_two_cards_or_labels_overlap_and_words_stand_on_their_card(reader, planted, keep):
    reader.visit(f"/graphs/{planted}?keep={keep}")
    drawn = list(cards(reader).values())
    for a, b in combinations([card["box"] for card in drawn], 2):
        assert max(a[0], b[0]) >= min(a[2], b[2]) or max(a[1], b[1]) >= min(a[3], b[3])
    for card in drawn:
        left, top, right, bottom = card["box"]
        for text in card["texts"]:
            assert left <= text[0] <= text[2] <= right + 0.5, card
            assert top <= text[1] + 2, card
            assert text[3] <= bottom + 2, card
        for a, b in combinations(card["texts"], 2):
            assert a[3] <= b[1] + 3 or b[3] <= a[1] + 3 or a[2] <= b[0] or b[2] <= a[0], card


def test_nodes_are_named_by_what_is_known_and_the_rest_by_their_names(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    drawn = cards(reader)
    nodes = {node["key"].removeprefix("cat/"): node for node in api(f"/graphs/{planted}", keep=1)["nodes"]}
    label, name = nodes[CAT]["label"], nodes[CAT]["name"]
    assert label
    assert name == "Block 0 · MLP neuron 7"
    assert "".join(drawn[CAT]["words"]).replace(" ", "") == f"{label}MLPneuron7".replace(" ", "")
    assert drawn["input@3"]["words"] == ["␣cat", "input"]
    assert drawn["output"]["words"][0] == "␣sat"
    assert drawn["blocks.1.mlp.write/error/0@3"]["words"][0] == "error"
    # Nothing is cut where there is room.
    assert [word for card in drawn.values() for word in card["words"] if "…" in word] == []
    # The panel has the whole of it, the list too.
    item(reader, CAT).click()
    assert label in reader.page.get_by_test_id("panel").inner_text()
    reader.page.get_by_test_id("view-list").click()
    assert f"{label} {name}" in re.sub(r"\s+", " ", item(reader, CAT).inner_text())


# -- lines ------------------------------------------------------------------------------------------------------------


def sampled(path):
    """Points along the data of a path of M, C and L."""
    points, at = [], (0.0, 0.0)
    for command, rest in re.findall(r"([MCL])([^MCL]*)", path):
        numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", rest)]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "C":
            for i in range(1, 21):
                t, u = i / 20, 1 - i / 20
                weights = (u**3, 3 * u * u * t, 3 * u * t * t, t**3)
                corners = [at, *pairs]
                points.append(tuple(sum(w * c[k] for w, c in zip(weights, corners, strict=True)) for k in (0, 1)))
        elif command == "L":
            points += [tuple(at[k] + (pairs[0][k] - at[k]) * i / 10 for k in (0, 1)) for i in range(1, 11)]
        at = pairs[-1]
        points.append(at)
    return points


def crossings(root):
    """Points of lines that lie within a node's card."""
    boxes = []
    for node in root.iter(f"{SVG}g"):
        if node.get("class") == "node":
            x, y = map(float, re.findall(r"-?\d+(?:\.\d+)?", node.get("transform")))
            w, h = (float(node.find(f"{SVG}rect").get(name)) for name in ("width", "height"))
            boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    lines = [sampled(path.get("d")) for path in root.iter(f"{SVG}path") if path.get("class") == "edge"]
    assert boxes
    assert lines
    within = 1.0  # lines begin and end on the rim
    return [
        (x, y)
        for line in lines
        for x, y in line
        for left, top, right, bottom in boxes
        if left + within < x < right - within and top + within < y < bottom - within
    ]


def test_no_line_runs_over_a_node_nor_over_its_words(reader, planted, tmp_path):
    reader.visit(f"/graphs/{planted}?keep=1")
    assert crossings(exported(reader, tmp_path / "a.svg")) == []


def test_nor_in_a_circuit_over_pairs_whose_heads_read_in_three_places(pairs_reader, edges, tmp_path):
    pairs_reader.visit(f"/graphs/{edges}?keep=1")
    root = exported(pairs_reader, tmp_path / "b.svg")
    assert crossings(root) == []
    # Two heads; the first reads as v, the second as k: at eight tenths and at half of their widths.
    ends = {}
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "edge":
            ends[path.find(f"{SVG}title").text] = sampled(path.get("d"))[-1][0]
    nodes = {node.get("data-id"): node for node in root.iter(f"{SVG}g") if node.get("class") == "node"}
    for id, slot, share in (("blocks.0.attn.z/heads/1", "v", 0.8), ("blocks.1.attn.z/heads/2", "k", 0.5)):
        x = float(re.findall(r"-?\d+(?:\.\d+)?", nodes[id].get("transform"))[0])
        width = float(nodes[id].find(f"{SVG}rect").get("width"))
        into = [end for title, end in ends.items() if f"({slot})" in title]
        assert min(abs(end - (x + (share - 0.5) * width)) for end in into) < 0.2


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_svg_has_every_node_and_nothing_from_elsewhere(reader, api, planted, tmp_path):
    reader.visit(f"/graphs/{planted}?keep=1")
    root = exported(reader, tmp_path / "c.svg")
    ids = {node.get("data-id") for node in root.iter(f"{SVG}g") if node.get("class") == "node"}
    page = api(f"/graphs/{planted}", keep=1)
    assert ids == {node["key"].removeprefix("cat/") for node in page["nodes"]}
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "edge"]) == len(page["edges"])
    text = (tmp_path / "c.svg").read_text()
    assert not re.search(r"href|<image|<script|@import|url\((?!#)", text)
    assert "hatched, dashed: against the answer" in text
    assert all(word in text for word in ("output", "␣cat"))


def test_hostile_names_are_text_in_picture_preview_and_file(reader, planted, tmp_path):
    def answer(route):
        real = route.fetch()
        page = real.json()
        for node in page["nodes"]:
            node["label"] = HOSTILE
        route.fulfill(response=real, json=page)

    reader.page.route(f"**/api/graphs/{planted}*", answer)
    reader.visit(f"/graphs/{planted}?keep=1")
    assert "<img" in "".join(cards(reader)[CAT]["words"])
    item(reader, CAT).hover()
    assert HOSTILE.replace(" ", "") in reader.page.get_by_test_id("preview").inner_text().replace(" ", "")
    root = exported(reader, tmp_path / "d.svg")
    assert not list(root.iter(f"{SVG}img"))
    assert any("<img" in (text.text or "") for text in root.iter(f"{SVG}text"))
    assert reader.page.locator("#page img").count() == 0
    assert not reader.page.title().startswith("taken")


@pytest.mark.parametrize("format", ["circuit-tracer", "neuronpedia"])
def test_other_viewers_files_hold_what_is_shown(reader, planted, format):
    reader.visit(f"/graphs/{planted}?keep=0.5&pin={DECOY}")
    address = reader.page.get_by_test_id(f"export-{format}").get_attribute("href")
    file = reader.page.request.get(reader.base + address).json()
    held = {node["node_id"].removeprefix("cat/") for node in file["nodes"]}
    assert held == set(cards(reader))


# -- looking around ---------------------------------------------------------------------------------------------------


def test_buttons_keys_wheel_and_drag_move_the_picture(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    view = reader.page.locator(".view")
    size = lambda: float(view.get_attribute("data-k"))  # noqa: E731
    before = size()
    reader.page.get_by_test_id("zoom-in").click()
    assert size() == pytest.approx(before * 1.35, abs=2e-3)
    reader.page.get_by_test_id("zoom-out").click()
    assert size() == pytest.approx(before, abs=2e-3)
    item(reader, CAT).focus()
    reader.page.keyboard.press("+")
    assert size() > before
    # What has the focus zooms with the wheel; the page does not scroll.
    box = view.bounding_box()
    reader.page.mouse.move(box["x"] + 300, box["y"] + 100)
    zoomed, top = size(), reader.page.evaluate("scrollY")
    reader.page.mouse.wheel(0, -300)
    reader.page.wait_for_function("k => +document.querySelector('.view').dataset.k > k", arg=zoomed)
    assert reader.page.evaluate("scrollY") == top
    # A drag moves every node by the same, and chooses none.
    start = {id: middle(card) for id, card in cards(reader).items()}
    reader.page.mouse.down()
    reader.page.mouse.move(box["x"] + 260, box["y"] + 120, steps=4)
    reader.page.mouse.up()
    for id, (x, y) in ((id, middle(card)) for id, card in cards(reader).items()):
        assert (x - start[id][0], y - start[id][1]) == pytest.approx((-40, 20), abs=1)
    assert reader.page.locator(f"{ITEM}[aria-selected=true]").count() == 0
    item(reader, CAT).focus()
    reader.page.keyboard.press("0")
    box = view.bounding_box()
    for card in cards(reader).values():
        left, top, right, bottom = card["box"]
        assert box["x"] - 1 <= left < right <= box["x"] + box["width"] + 1
        assert box["y"] - 1 <= top < bottom <= box["y"] + box["height"] + 1


def test_a_page_without_the_focus_in_the_picture_scrolls(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    box = reader.page.locator(".view").bounding_box()
    size = reader.page.locator(".view").get_attribute("data-k")
    reader.page.mouse.move(box["x"] + 300, box["y"] + 100)
    reader.page.mouse.wheel(0, 200)
    reader.page.wait_for_function("() => scrollY > 0")
    assert reader.page.locator(".view").get_attribute("data-k") == size


@pytest.mark.parametrize("by", ["hover", "focus"])
def test_a_node_shows_its_strongest_example(reader, api, cat, planted, by):
    reader.visit(f"/graphs/{planted}?keep=1")
    getattr(item(reader, CAT), by)()
    preview = reader.page.get_by_test_id("preview")
    preview.get_by_test_id("strip").wait_for()
    best = api(f"/units/{cat}/examples", kind="top", limit=1)["examples"][0]
    strip = preview.get_by_test_id("strip")
    assert float(strip.get_attribute("data-act")) == best["value"] == pytest.approx(3.0)
    assert strip.locator(".mark .x").inner_text().strip() == "cat"
    assert len(strip.locator(".t").all()) <= 14
    reader.page.mouse.move(5, 5)
    reader.page.evaluate("document.activeElement.blur()")
    preview.wait_for(state="detached")


# -- pins and addresses -----------------------------------------------------------------------------------------------


def test_a_pinned_node_stays_whatever_is_pruned(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    item(reader, DECOY).click()
    reader.page.keyboard.press("p")
    reader.page.wait_for_url("**pin=**")
    reader.page.get_by_test_id("keep").fill("0.1")
    reader.page.wait_for_url("**keep=0.1*")
    reader.settle()
    assert DECOY in cards(reader)
    assert ANIMAL not in cards(reader)
    assert item(reader, DECOY).get_attribute("data-pinned") == "true"
    reader.page.get_by_test_id("only-pinned").click()
    item(reader, CAT).wait_for(state="detached")
    kinds = {card["kind"] for id, card in cards(reader).items() if id != DECOY}
    assert kinds <= {"input", "output", "error"}
    reader.page.get_by_test_id("pin").click()
    item(reader, DECOY).wait_for(state="detached")
    assert "pin" not in reader.address


def test_no_address_of_the_page_is_escaped_twice(reader, planted):
    reader.visit(f"/graphs/{planted}?keep=1")
    reader.page.get_by_test_id("suggested").get_by_role("button").first.click()
    reader.page.wait_for_url("**group=**")
    name = reader.page.get_by_test_id("group-name")
    name.fill("heads of block 0")
    name.press("Enter")
    reader.page.wait_for_url("**heads+of+block+0**")
    item(reader, CAT).click()
    reader.page.keyboard.press("p")
    reader.page.wait_for_url("**pin=**")
    links = [reader.address, *reader.all("#page a[href]", "href")]
    assert len(links) > 10
    assert [link for link in links if "%25" in link or re.search(r"%(2F|40|3A)", link)] == []
    assert f"select={CAT}" in unquote_plus(reader.address)


# -- the lab ----------------------------------------------------------------------------------------------------------


def test_all_causes_lead_to_the_lab_as_clamps(reader, api, planted):
    reader.visit(f"/graphs/{planted}?keep=0.1")
    link = reader.page.get_by_test_id("clamp-zero")
    causes = [n for n in api(f"/graphs/{planted}")["nodes"] if n["score"] > 0 and n["kind"] in ("neuron", "head")]
    assert int(reader.page.get_by_test_id("clamp-causes").get_attribute("data-causes")) == len(causes) > 1
    address = unquote_plus(link.get_attribute("href"))
    [clamped] = re.findall(r"clamp=([^&]*) ablate", address)
    assert set(clamped.split()) == {node["key"].removeprefix("cat/") for node in causes}


def test_the_least_p_stands_before_the_button(pairs_reader, edges):
    pairs_reader.visit(f"/graphs/{edges}?keep=1&select=blocks.0.attn.z/heads/1")
    floor = pairs_reader.page.get_by_test_id("sets")
    sets = int(floor.get_attribute("data-different"))
    assert float(re.search(r"below (\d+\.\d+)", floor.inner_text())[1]) == pytest.approx(1 / (sets + 1), abs=6e-3)
    pairs_reader.page.get_by_test_id("verify-button").click()
    pairs_reader.page.get_by_test_id("verified").wait_for()
    found = float(pairs_reader.page.get_by_test_id("verified").get_attribute("data-p"))
    assert found == pytest.approx(1 / (sets + 1))


def test_a_chosen_head_shows_where_it_attends(pairs_reader, pairs_server):
    rows = httpx.get(f"{pairs_server}/api/graphs").raise_for_status().json()["rows"]
    placed = next(
        row["id"]
        for row in rows
        if httpx.get(f"{pairs_server}/api/graphs/{row['id']}").json()["about"]["level"] == "neuron"
    )
    late = "blocks.1.attn.z/heads/2@8"
    pairs_reader.visit(f"/graphs/{placed}?select={late}")
    pattern = pairs_reader.page.get_by_test_id("attention")
    pattern.wait_for()
    assert pattern.get_attribute("data-target") == "8"
    # The planted head looks back at what followed the same word before.
    source = pattern.get_by_test_id("attention-source").first
    assert source.get_attribute("data-text").strip() == "Lane"
    assert float(source.get_attribute("data-weight")) > 0.9
