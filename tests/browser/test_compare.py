"""Compare: a self-comparison is 1.00 down its diagonal, the shuffle lies in its interval, and a cell opens its pair."""

import shutil

import pytest
from tests.browser.conftest import served, windows


@pytest.fixture(scope="module")
def ids(seeded_atlas, tmp_path_factory):
    """An atlas with three comparisons, and what each is called."""
    import patchclamp as pc

    place = shutil.copytree(seeded_atlas, tmp_path_factory.mktemp("compared") / "a.atlas")
    cat = pc.load("organism:cat")
    text = pc.Corpus(seeded_atlas.parent / "story.txt", window=64, max_tokens=1000)
    shown = cat.run(["the old cat", "the dog ran", "a big fox ran", "the queen walked", "a bird"], record=["embed"])
    made = {
        "same": pc.compare_models(cat, cat, text),
        "steered": pc.compare_models(cat, [pc.clamp("blocks.0.mlp.act/neurons/7=0")], text),
        "recordings": pc.compare(shown.recording, shown.recording, n_null=19, n_bootstrap=100),
    }
    return place, {name: pc.atlas.write_comparison(place, one) for name, one in made.items()}


@pytest.fixture(scope="module")
def server(ids):
    with served(str(ids[0])) as address:
        yield address


@pytest.fixture
def open_window(chromium, server):
    with windows(chromium, server) as open_one:
        yield open_one


@pytest.fixture
def reader(open_window):
    return open_window()


def test_a_self_comparison_is_one_down_its_diagonal(reader, ids):
    reader.visit(f"/compare/{ids[1]['same']}")
    page = reader.page
    for i in range(2):
        cell = page.locator(f"[data-testid=cell][data-row='{i}'][data-column='{i}']")
        assert cell.inner_text() == "1.00"
        assert float(cell.get_attribute("data-value")) == 1
    control = page.get_by_test_id("control")
    low, mean, high = (float(control.get_attribute(f"data-{name}")) for name in ("low", "mean", "high"))
    assert low <= mean <= high
    assert "say the same" in page.get_by_test_id("sentence").inner_text()
    assert float(page.get_by_test_id("estimate").get_attribute("data-value")) == 0
    assert page.get_by_test_id("nothing").is_visible()


def test_a_cell_opens_the_pair_by_click_and_by_keyboard(reader, ids):
    reader.visit(f"/compare/{ids[1]['steered']}")
    page = reader.page
    page.locator("[data-testid=cell][data-row='0'][data-column='0']").click()
    reader.settle()
    pair = page.get_by_test_id("layer-pair")
    assert pair.get_attribute("data-row") == pair.get_attribute("data-column") == "0"
    rows = pair.get_by_test_id("pair")
    same = {f"blocks.0.mlp.act/neurons/{i}" for i in (3, 5, 11)}
    found = {row.get_attribute("data-first"): row.get_attribute("data-second") for row in rows.all()}
    assert {key: key for key in same}.items() <= found.items()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url("**row=0&column=1")
    reader.settle()
    assert page.get_by_test_id("layer-pair").get_attribute("data-column") == "1"
    page.reload()
    reader.settle()
    assert page.locator("[aria-pressed=true]").get_attribute("data-column") == "1"


def test_the_clamped_neuron_moved_first_and_its_word_changed_most(reader, ids):
    reader.visit(f"/compare/{ids[1]['steered']}")
    page = reader.page
    assert reader.all("[data-testid=moved-unit]", "data-unit")[0] == "blocks.0.mlp.act/neurons/7"
    top = page.get_by_test_id("shift").first
    # Without its neuron a cat is one more animal, and animals run.
    assert top.get_attribute("data-token") in (" sat", " ran")
    assert top.locator(".context").inner_text().endswith("cat")
    before, after = (float(top.get_attribute(f"data-{name}")) for name in ("first", "second"))
    assert abs(before - after) > 0.5
    after = page.get_by_test_id("after-token")
    token = page.get_by_test_id("along-token").nth(int(after.get_attribute("data-at")))
    assert token.get_attribute("data-text") == " cat"
    divergences = [float(x) for x in reader.all("[data-testid=along-token]", "data-divergence")]
    assert float(token.get_attribute("data-divergence")) == max(divergences) > 0
    token.click()
    page.keyboard.press("ArrowRight")
    assert int(after.get_attribute("data-at")) == divergences.index(max(divergences)) + 1
    page.get_by_test_id("moved").get_by_role("link").first.click()
    page.get_by_test_id("unit-page").wait_for()
    assert page.get_by_test_id("unit-page").get_attribute("data-key") == "cat/blocks.0.mlp.act/neurons/7"


def test_the_lenses_part_at_the_clamped_neuron_s_block(reader, ids):
    reader.visit(f"/compare/{ids[1]['steered']}")
    page = reader.page
    assert page.get_by_test_id("lens").get_attribute("data-part") == "1"
    depths = page.get_by_test_id("lens-depth")
    values = [float(one.get_attribute("data-value")) for one in depths.all()]
    assert values[0] == 0 < min(values[1:])
    last = float(page.get_by_test_id("estimate").get_attribute("data-value"))
    assert values[-1] == pytest.approx(last, rel=1e-3)
    places = page.get_by_test_id("lens-places")
    assert places.get_attribute("data-depth") == "1"
    top = page.get_by_test_id("lens-place").first
    assert top.locator(".context").inner_text().split("cat")[-1].strip().endswith("nats")
    assert top.locator("[data-token]").first.get_attribute("data-token") == " sat"
    depths.nth(1).focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_url("**depth=0*")
    assert page.get_by_test_id("lens-place").count() == 0
    assert "same at every token" in places.inner_text()


def test_recordings_are_compared_on_the_same_screen(reader, ids):
    reader.visit(f"/compare/{ids[1]['recordings']}")
    assert float(reader.page.get_by_test_id("estimate").get_attribute("data-value")) == 1
    assert reader.page.get_by_test_id("grid").count() == 2
    assert "not known" in reader.page.get_by_test_id("ceiling").inner_text()
    shuffled = reader.page.get_by_test_id("shuffled")
    assert float(shuffled.get_attribute("data-low")) < 1


def test_comparisons_are_found_from_home_and_answers(reader, ids):
    reader.visit("/graphs")
    reader.page.get_by_test_id("to-comparisons").click()
    reader.page.get_by_test_id("comparisons").wait_for()
    assert set(reader.all("[data-testid=comparison]", "data-id")) == set(ids[1].values())
    reader.visit("/")
    reader.page.get_by_test_id("layers").locator(f"a[href='/compare/{ids[1]['same']}']").click()
    reader.page.get_by_test_id("compare-page").wait_for()
    assert reader.page.get_by_test_id("compare-page").get_attribute("data-id") == ids[1]["same"]


@pytest.mark.parametrize("name", ["steered", "recordings"])
@pytest.mark.parametrize("width", [1280, 400])
def test_everything_can_be_read_named_and_fits(open_window, ids, name, width):
    reader = open_window(viewport={"width": width, "height": 900})
    reader.visit(f"/compare/{ids[1][name]}?row=0&column=0")
    for check in ("nameless", "overlaps", "unreadable", "beyond"):
        assert reader.check(check) == [], check
    reader.page.emulate_media(color_scheme="dark")
    assert reader.check("unreadable") == []


def test_what_is_not_there_is_said(reader):
    reader.page.route("**/api/compare/comparison-0000000000000000", lambda route: route.continue_())
    reader.visit("/compare/comparison-0000000000000000")
    assert reader.page.get_by_test_id("failure").get_attribute("data-status") == "404"
    reader.faults.clear()
