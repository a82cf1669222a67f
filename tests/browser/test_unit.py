"""Unit shows exact activations, chooses examples by interval, and says where words are wrong."""

import re

import pytest

EXAMPLES = "[data-testid=example]"


@pytest.fixture
def page(reader, cat):
    reader.visit(f"/units/{cat}")
    return reader.page


@pytest.fixture
def histogram(api, cat):
    return api(f"/units/{cat}")["histogram"]


def test_cat_reads_three_with_the_darkest_fill(page, reader):
    assert page.get_by_test_id("maximum").inner_text() == "3.00"
    line = page.locator("[data-testid=examples-top] [data-testid=example]").first
    mark = line.locator(".t.mark")
    assert mark.get_attribute("data-text").strip() == "cat"
    assert mark.locator(".v").inner_text() == "3.00"
    assert float(mark.get_attribute("data-act")) == pytest.approx(3.0, abs=1e-5)
    fills = [float(fill) for fill in reader.all(".t", "data-fill")]
    assert float(mark.get_attribute("data-fill")) == max(fills) == 1.0
    # Drawn as said: the colour behind it is the strongest of its strip.
    alpha = "all => all.map(t => Number(getComputedStyle(t).backgroundColor.match(/[\\d.]+(?=\\))/)[0]))"
    drawn = line.locator(".t:is(.pos, .neg) .x").evaluate_all(alpha)
    assert mark.locator(".x").evaluate_all(alpha) == [max(drawn)]
    assert max(drawn) > 0.4


def test_the_lowest_value_stands_beside_the_highest_where_it_is_below_zero(page, reader, cat):
    assert page.get_by_test_id("minimum").count() == 0

    def answer(route):
        real = route.fetch()
        unit = real.json()
        unit["statistics"]["minimum"] = -5.44
        route.fulfill(response=real, json=unit)

    page.route(f"**/api/units/{cat}", answer)
    reader.visit(f"/units/{cat}")
    assert page.get_by_test_id("minimum").get_attribute("data-value") == "-5.44"
    page.get_by_test_id("minimum").get_by_role("link").click()
    reader.settle()
    assert "kind=lowest" in reader.address
    # This unit never goes below zero, so there are none.
    assert page.locator(EXAMPLES).count() == 0


def test_every_kind_of_example_says_how_many_it_shows(page, api, cat):
    counted = {one["kind"]: one["n"] for one in api(f"/units/{cat}")["examples"]}
    for kind in ("top", "range", "random"):
        n = counted[kind]
        group = page.get_by_test_id(f"examples-{kind}")
        shown = group.locator(EXAMPLES).count()
        assert group.get_by_test_id("shown").inner_text().startswith(f"showing {shown} of {n}")
        assert 0 < shown <= n


def test_show_all_shows_all(page, reader, api, cat):
    n = next(one["n"] for one in api(f"/units/{cat}")["examples"] if one["kind"] == "top")
    page.get_by_test_id("examples-top").get_by_role("link", name="show all").click()
    reader.settle()
    assert "kind=top" in reader.address
    assert page.locator(EXAMPLES).count() == n


def test_brushing_the_lowest_bin_shows_examples_from_there(page, reader, histogram):
    bins = page.locator("[data-bin]")
    box = bins.nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 4)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url("**low=*")
    reader.settle()
    acts = [float(act) for act in reader.all(EXAMPLES, "data-act")]
    assert set(reader.all(EXAMPLES, "data-kind")) == {"interval"}
    low, high = histogram["edges"][:2]
    assert acts
    assert all(low <= act <= high for act in acts)
    # What is said beside it is what the bins hold.
    said = page.get_by_test_id("chosen").inner_text()
    assert f"{histogram['tokens'][0]:,} of {sum(histogram['tokens']):,} tokens" in said
    # Not only the marked value: it is the largest of its strip.
    for line in page.locator(EXAMPLES).all()[:3]:
        values = [
            float(v) for v in line.locator(".t:not(.uncounted)").evaluate_all("all => all.map(t => t.dataset.act)")
        ]
        assert max(values) <= high + 1e-2


def test_a_drag_chooses_several_bins_and_can_be_undone(page, reader, histogram):
    last = len(histogram["tokens"]) - 1
    first, final = (
        page.locator("[data-bin]").nth(last - 3).bounding_box(),
        page.locator("[data-bin]").nth(last).bounding_box(),
    )
    page.mouse.move(first["x"] + 1, first["y"] + 40)
    page.mouse.down()
    page.mouse.move(final["x"] + 1, final["y"] + 40, steps=4)
    page.mouse.up()
    page.wait_for_url("**low=*")
    reader.settle()
    assert all(float(act) >= histogram["edges"][last - 3] - 1e-6 for act in reader.all(EXAMPLES, "data-act"))
    reader.page.reload()
    reader.settle()
    assert page.locator(".bin:not(.out)").count() == 4
    page.go_back()
    reader.settle()
    assert page.locator(".bin.out").count() == 0
    assert page.get_by_test_id("examples-top").is_visible()


def test_the_interval_can_be_chosen_by_keyboard(page, reader, histogram):
    page.get_by_label("highest activation of the examples").focus()
    page.keyboard.press("Home")
    page.wait_for_url("**high=*")
    reader.settle()
    assert page.locator(".bin:not(.out)").count() == 1
    assert all(float(act) <= histogram["edges"][1] for act in reader.all(EXAMPLES, "data-act"))


def test_values_and_ids_are_there_on_demand(page, reader, api, cat):
    one = api(f"/units/{cat}/examples", kind="top")["examples"][0]
    page.get_by_test_id("under-ids").click()
    reader.settle()
    line = page.locator("[data-testid=examples-top] [data-testid=example]").first
    assert line.locator(".v").all_inner_texts() == [str(i) for i in one["ids"]]
    assert "under=ids" in reader.address
    page.get_by_test_id("under-values").click()
    reader.settle()
    assert line.locator(".v").count() == len(one["tokens"])


def test_wrong_words_stand_beside_what_contradicts_them(reader, api):
    rows = api("/units", described=True)["rows"]
    pages = [api(f"/units/{row['key']}") for row in rows]
    wrong = next(page for page in pages if any(one["fails_on"] for one in page["descriptions"]))
    fails = max(one["fails_on"] for one in wrong["descriptions"])
    reader.visit(f"/units/{wrong['key']}")
    said = reader.page.get_by_test_id("fails").first
    assert int(said.get_attribute("data-value")) == fails
    said.get_by_role("link").click()
    reader.settle()
    assert set(reader.all(EXAMPLES, "data-kind")) == {"counter"}


def test_a_silent_unit_says_so(reader, api):
    silent = [row for row in api("/units", limit=200)["rows"] if row["fires_on"] is None]
    assert silent, "the seeded atlas has a unit that never fires"
    reader.visit(f"/units/{silent[0]['key']}")
    counted = api("/atlas")["corpus"]["counted"]
    assert reader.page.get_by_test_id("silent").inner_text().startswith(f"never fired in {counted:,} tokens")


def test_what_it_writes_is_what_the_api_says(page, api, cat):
    unit = api(f"/units/{cat}")
    for field in ("promotes", "suppresses"):
        rows = page.get_by_test_id(field).locator("tbody tr")
        shown = [float(row.get_attribute("data-value")) for row in rows.all()]
        assert shown == pytest.approx([one["weight"] for one in unit[field][:8]])
        # The sign is also a shape.
        assert all(("▲" in row.inner_text()) == (value > 0) for row, value in zip(rows.all(), shown, strict=True))


def test_next_and_previous_walk_through_the_site(page, reader, api, cat):
    unit = api(f"/units/{cat}")
    page.get_by_test_id("next").click()
    reader.settle()
    assert reader.address == f"/units/{unit['next']}"
    for back in (lambda: page.keyboard.press("["), page.get_by_test_id("previous").click):
        reader.visit(f"/units/{unit['next']}")
        back()
        page.wait_for_url(f"**/{cat}")
        reader.settle()
        assert page.get_by_test_id("unit-page").get_attribute("data-key") == cat


def test_the_link_can_be_copied(opened, cat):
    reader = opened(permissions=["clipboard-read", "clipboard-write"])
    reader.visit(f"/units/{cat}")
    reader.page.get_by_role("button", name=re.compile("copy link")).click()
    reader.page.get_by_text("copied").wait_for()
    assert reader.page.evaluate("navigator.clipboard.readText()") == f"{reader.base}/units/{cat}"


def test_an_unknown_unit_is_answered_in_three_parts(reader):
    reader.visit("/units/cat/blocks.0.mlp.act/neurons/99999")
    said = reader.page.get_by_test_id("failure")
    assert said.get_attribute("data-status") == "404"
    assert "what to do" in said.inner_text()
    reader.faults[:] = [fault for fault in reader.faults if "404" not in fault]


@pytest.fixture
def bench(lab_opened):
    return lab_opened()


def test_a_text_of_ones_own_is_marked_only_where_it_fires(bench, cat):
    bench.visit(f"/units/{cat}")
    panel = bench.page.get_by_test_id("trial")
    panel.get_by_test_id("try").fill("the cat and the dog")
    bench.page.wait_for_url("**try=the+cat+and+the+dog*")
    bench.settle()
    tokens = panel.locator(".strip .t")
    acts = {t.get_attribute("data-text"): float(t.get_attribute("data-act")) for t in tokens.all()}
    assert acts.pop(" cat") == pytest.approx(3.0, abs=1e-5)
    assert set(acts.values()) == {0.0}
    assert panel.locator(".strip .t.pos").count() == panel.locator(".strip .t.mark").count() == 1
    other = bench.all("[data-testid=trial] .t", "data-act")
    bench.page.reload()
    bench.page.wait_for_selector("[data-testid=trial] .t")
    bench.settle()
    assert bench.all("[data-testid=trial] .t", "data-act") == other


def test_the_small_clamp_shows_what_changes_most(bench, cat):
    bench.visit(f"/units/{cat}?try=the+cat")
    page = bench.page
    assert page.get_by_test_id("moved").count() == 0
    page.get_by_test_id("mini-clamp").get_by_role("slider").press("Home")
    page.wait_for_url("**value=0*")
    page.get_by_test_id("moved").wait_for()
    bench.settle()
    deltas = [float(d) for d in bench.all("[data-testid=moved] [data-testid=next-token]", "data-delta")]
    assert len(deltas) == 3
    assert sorted(deltas, key=abs, reverse=True) == deltas
    assert set(bench.all("[data-testid=moved] [data-testid=next-token]", "data-text")) > {" sat", " ran"}
    page.get_by_test_id("open-lab").click()
    page.wait_for_url(re.compile("/lab[?]"))
    bench.settle()
    assert page.get_by_test_id("text").input_value() == "the cat"
    assert bench.all("[data-testid=clamp]", "data-key") == [cat.partition("/")[2]]
    assert bench.all("[data-testid=clamp]", "data-value") == ["0"]


def test_without_a_model_nothing_can_be_tried(page):
    assert page.get_by_test_id("trial").count() == 0
    assert page.locator("#page textarea").count() == 0


def test_what_is_measured_stands_under_the_title(page, api, cat):
    unit = api(f"/units/{cat}")
    assert page.get_by_test_id("line").first.inner_text() == unit["line"]["text"]
    assert unit["line"]["text"].startswith("detects cat, AUROC 1.00")
    assert page.locator("h1").inner_text() == "Block 0 · MLP neuron 7"
    heads = page.locator("main h2").all_inner_texts()
    # What it did in explained answers stands before the examples, neighbours after them.
    assert heads.index("Explained answers") < heads.index("Examples") < heads.index("Neighbours")
    assert heads.index("What it promotes") < heads.index("What drives it") < heads.index("Concepts it detects")


def test_there_are_no_words_where_nobody_wrote_any(reader, api):
    rows = api("/units", described=False, limit=200)["rows"]
    reader.visit(f"/units/{next(row['key'] for row in rows if row['fires_on'])}")
    assert "In words" not in reader.page.locator("main h2").all_inner_texts()
    assert "not described" not in reader.page.locator("main").inner_text()


def test_examples_across_the_range_lie_in_different_tenths_of_it(page, reader, api, cat):
    s = api(f"/units/{cat}")["statistics"]
    acts = [float(act) for act in reader.all("[data-testid=examples-range] [data-testid=example]", "data-act")]
    tenths = [min(int((act - s["minimum"]) / (s["maximum"] - s["minimum"]) * 10), 9) for act in acts]
    assert len(set(tenths)) == len(tenths)
    assert (max(acts), min(acts)) == (pytest.approx(s["maximum"]), pytest.approx(s["minimum"]))


def test_the_axis_of_the_histogram_says_tokens_and_that_it_is_logarithmic(page, histogram):
    box = page.get_by_test_id("histogram")
    assert "tokens per interval, on a logarithmic scale" in box.inner_text()
    ticks = [int(n) for n in box.locator(".tick").evaluate_all("all => all.map(t => t.dataset.tokens)")]
    assert ticks[0] == 1
    assert max(histogram["tokens"]) / 1000 < ticks[-1] <= max(histogram["tokens"])


def test_a_strip_of_ones_own_text_does_not_lie_on_the_box(lab_opened, cat):
    reader = lab_opened()
    reader.visit(f"/units/{cat}?try=the+old+cat")
    box = reader.page.get_by_test_id("try").bounding_box()
    strip = reader.page.locator("[data-testid=trial] [data-testid=strip]").bounding_box()
    # The ring of a focused field reaches 4 pixels beyond it.
    assert strip["y"] >= box["y"] + box["height"] + 8


def test_concepts_that_say_little_are_grey_and_say_so(page, reader, cat):
    def answer(route):
        real = route.fetch()
        unit = real.json()
        one = unit["concepts"][0]
        weak = {**one, "concept": "old", "auroc": {**one["auroc"], "value": 0.7, "low": 0.6, "high": 0.8}}
        chance = {**one, "concept": "the", "auroc": {**one["auroc"], "value": 0.9, "low": 0.45, "high": 1.0}}
        unit["concepts"] = [one, weak, chance]
        route.fulfill(response=real, json=unit)

    page.route(f"**/api/units/{cat}", answer)
    reader.visit(f"/units/{cat}")
    rows = page.locator(".concepts tr")
    assert [row.get_attribute("class") or "" for row in rows.all()] == ["", "weak", "weak"]
    assert "below 0.8" in rows.nth(1).inner_text()
    assert "touches chance" in rows.nth(2).inner_text()
