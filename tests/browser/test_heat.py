"""Layers: the copying head's answer in numbers, a cell that leads to its clamp, arrow keys, and a narrow window."""

from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

TEXT, OTHER = "Ada Lane met Tom Reed. Later Ada", "Ada Reed met Tom Lane. Later Ada"
HEAD = "blocks.1.attn.z/heads/2"
MAP = "[data-testid=heat-map]"


def address(of="lens", **more):
    extra = "".join(f"&{name}={quote(value)}" for name, value in more.items())
    return f"/heat?text={quote(TEXT)}&of={of}{extra}"


def cells(reader):
    """Return what every cell holds, by row from the lowest and position."""
    reader.page.wait_for_selector(MAP)
    found = reader.page.locator("[data-testid=cell]").evaluate_all(
        "all => all.map(c => ({...c.dataset, text: c.innerText}))"
    )
    return {(int(one["row"]), int(one["position"])): one for one in found}


def asked(base, path, **body):
    return httpx.post(f"{base}/api/lab/{path}", json={"text": TEXT, **body}).raise_for_status().json()


def test_the_lens_shows_where_the_copied_name_appears(pairs_reader, pairs_server):
    pairs_reader.visit(address())
    shown, page = cells(pairs_reader), asked(pairs_server, "lens")
    words = {one["id"]: one["text"] for one in page["words"]}
    for r, row in enumerate(page["rows"]):
        for p in range(len(page["cut"]["tokens"])):
            cell = shown[r, p]
            assert (cell["token"], cell["text"].strip()) == (words[row["ids"][p][0]], words[row["ids"][p][0]].strip())
            assert float(cell["probability"]) == float(cell["value"]) == row["probabilities"][p][0]
    last = len(page["cut"]["tokens"]) - 1
    assert [shown[r, last]["token"] == " Lane" for r in range(3)] == [False, False, True]
    assert float(shown[2, last]["value"]) > 0.9
    # Beside it: the likeliest tokens there, and the head of the last block that reads the planted source.
    beside = pairs_reader.page.get_by_test_id("lens-token").first
    assert (beside.get_attribute("data-text"), beside.get_attribute("data-probability")) == (
        " Lane",
        shown[2, last]["value"],
    )
    attention = pairs_reader.page.get_by_test_id("heat-attention")
    assert attention.get_attribute("data-layer") == "1"
    source = attention.get_by_test_id("attention-source").first
    assert (source.get_attribute("data-text"), float(source.get_attribute("data-weight")) > 0.9) == (" Lane", True)
    # A token that is followed through the map shows its probability and rank everywhere.
    beside.click()
    pairs_reader.page.wait_for_url("**target=*")
    pairs_reader.page.wait_for_function("() => document.querySelector('[data-testid=cell]').innerText.includes('#')")
    followed = cells(pairs_reader)
    assert followed[2, last]["text"].endswith("#1")
    for (r, p), cell in followed.items():
        assert int(cell["rank"]) == page["rows"][r]["ranks"][p]
        assert float(cell["value"]) == page["rows"][r]["target_probabilities"][p]


def test_clamps_of_the_address_change_the_lens(pairs_reader, pairs_server):
    pairs_reader.visit(address(clamp=f"{HEAD} scale 0", side="difference"))
    shown = cells(pairs_reader)
    page = asked(pairs_server, "lens", clamps=[{"key": HEAD, "mode": "scale", "value": 0}])
    for (r, p), cell in shown.items():
        before, after = (page[side][r]["target_probabilities"][p] for side in ("rows", "changed"))
        assert float(cell["value"]) == pytest.approx(after - before, abs=1e-9)
    last = shown[2, max(p for _, p in shown)]
    assert float(last["value"]) < -0.8
    style = pairs_reader.page.locator(f"{MAP} a.here").evaluate("cell => getComputedStyle(cell).backgroundImage")
    assert "repeating-linear-gradient" in style  # below zero is hatched
    pairs_reader.page.get_by_test_id("side-with").click()
    pairs_reader.page.wait_for_selector("[data-testid=heat][data-side=with]")
    assert cells(pairs_reader)[2, 8]["token"] != " Lane"


def test_activation_and_attribution_are_the_servers_numbers(pairs_reader, pairs_server):
    for of, part in (("activation", "mlp"), ("attribution", "all")):
        pairs_reader.visit(address(of, part=part))
        page = asked(pairs_server, "heat", of=of, part=part)
        shown = cells(pairs_reader)
        drawn = [[float(shown[r, p]["value"]) for p in range(len(row["values"]))] for r, row in enumerate(page["rows"])]
        assert drawn == [row["values"] for row in page["rows"]]
    # The copying head answers at the last token.
    assert max(shown, key=lambda at: float(shown[at]["value"])) == (1, 8)


def test_patching_finds_the_planted_path_and_a_cell_leads_to_its_clamp(pairs_reader):
    pairs_reader.visit(address("patching", other=OTHER))
    shown = cells(pairs_reader)
    large = {at for at, cell in shown.items() if float(cell["value"]) > 0.5}
    # The name is read at its own token, and copied to the last one by the last block.
    assert large == {(0, 2), (1, 2), (2, 8)}
    for at in large:
        assert shown[at]["text"] == "1.00"
    page = pairs_reader.page
    page.locator("[data-row='1'][data-position='2']").click()
    page.wait_for_selector("[data-testid=clamp]")
    assert urlsplit(pairs_reader.address).path == "/lab"
    written = parse_qs(urlsplit(pairs_reader.address).query)
    assert written["clamp"] == ["blocks.0.resid_out/whole/0@2 patch"]
    assert (written["text"], written["other"]) == ([TEXT], [OTHER])
    first = page.locator("[data-testid=next-token]").first
    first.wait_for()
    assert first.get_attribute("data-text") == " Reed"
    assert float(first.get_attribute("data-changed")) > 0.9
    page.go_back()
    assert cells(pairs_reader).keys() == shown.keys()


def test_arrow_keys_move_the_cell_and_enter_clamps_it(pairs_reader):
    pairs_reader.visit(address())
    page = pairs_reader.page
    cells(pairs_reader)
    # One stop of the tab key for all cells.
    assert page.locator("[data-testid=cell]").evaluate_all("all => all.filter(c => c.tabIndex === 0).length") == 1
    page.locator(f"{MAP} [tabindex='0']").focus()

    def here():
        place = page.get_by_test_id("place")
        return place.get_attribute("data-row"), place.get_attribute("data-position")

    assert here() == ("2", "8")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert here() == ("1", "7")
    assert page.evaluate("document.activeElement.dataset.position") == "7"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("PageDown")
    assert here() == ("0", "0")
    page.keyboard.press("PageUp")
    page.keyboard.press("End")
    page.wait_for_url("**at=2,8")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-testid=clamp]")
    assert parse_qs(urlsplit(pairs_reader.address).query)["clamp"] == ["blocks.1.resid_out/whole/0@8 ablate"]


def test_every_width_and_theme_is_readable_and_the_map_scrolls_in_its_own_box(pairs_reader):
    page = pairs_reader.page
    for width, of in ((1280, "lens"), (400, "lens"), (400, "patching")):
        page.set_viewport_size({"width": width, "height": 900})
        pairs_reader.visit(address(of, other=OTHER))
        cells(pairs_reader)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            for check in ("nameless", "overlaps", "unreadable"):
                assert pairs_reader.check(check) == [], (width, of, theme)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.get_by_test_id("heat-box")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert page.locator(f"{MAP} thead th").nth(1).is_visible()


def test_without_a_model_there_is_the_command(reader):
    reader.visit(address())
    assert "--model organism:cat" in reader.page.get_by_test_id("attach").inner_text()


def test_the_lab_leads_here_with_its_clamps(pairs_reader):
    pairs_reader.visit(f"/lab?text={quote(TEXT)}&clamp={quote(HEAD + ' scale 0')}")
    pairs_reader.page.get_by_test_id("layers").click()
    cells(pairs_reader)
    assert parse_qs(urlsplit(pairs_reader.address).query)["clamp"] == [f"{HEAD} scale 0"]


def test_an_answer_leads_here_with_its_tokens(lab_opened, api):
    reader = lab_opened()
    rows = api("/graphs")["rows"]
    one = next(row for row in rows if row["prompt"] == "the old cat")
    reader.visit(f"/graphs/{one['id']}")
    reader.page.get_by_test_id("layers").first.click()
    cells(reader)
    query = parse_qs(urlsplit(reader.address).query)
    assert query["text"] == ["the old cat"]
    assert query["of"][0] in ("attribution", "patching")
    named = reader.page.get_by_test_id("explains").locator("[data-token]")
    assert named.first.get_attribute("data-token") == " sat"
