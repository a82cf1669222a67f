"""Pages of an atlas of images: places on pictures with their numbers, on Home, Find, the unit's page and in the lab."""

import re

import httpx
import numpy as np
import pytest
import torch

import patchclamp as pc

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are shown")

N, SITE = 60, "blocks.1.conv1.act"  # as baked in conftest.py
KEY = f"digits-cnn/{SITE}/channels/8"
EXAMPLE = "[data-testid=example]"
SCREENS = ("/", "/units", f"/units/{KEY}?map=on", "/lab", "/graphs", "/runs")


@pytest.fixture
def reader(opened_pictures):
    return opened_pictures()


@pytest.fixture(scope="module")
def values():
    """The channel's values ``(picture, place)``, each picture by itself."""
    model = pc.load("organism:digits-cnn")
    runs = [model.run(f"digits:{i}", record=SITE, logits=False).recording[SITE][:, 8] for i in range(N)]
    return torch.stack(runs).numpy()


def test_the_units_page_shows_the_pictures_with_the_highest_values_and_their_places(reader, values):
    reader.visit(f"/units/{KEY}")
    page = reader.page
    cards = page.locator(f"[data-testid=pictures-top] {EXAMPLE}")
    order = np.argsort(-values.max(1), kind="stable")[:8]
    shown = [(int(c.get_attribute("data-picture")), int(c.get_attribute("data-position"))) for c in cards.all()]
    assert shown == [(int(i), int(values[i].argmax())) for i in order]
    acts = [float(act) for act in reader.all(f"[data-testid=pictures-top] {EXAMPLE}", "data-act")]
    assert acts == pytest.approx(values[order].max(1).tolist(), abs=1e-4)
    assert float(page.get_by_test_id("maximum").get_attribute("data-value")) == pytest.approx(values.max(), abs=1e-4)
    # The file is drawn, and the frame lies where the address of the place says.
    assert cards.first.locator("img").evaluate("img => img.complete && img.naturalWidth") == 32
    frame, drawn = cards.first.get_by_test_id("box").bounding_box(), cards.first.locator("img").bounding_box()
    left, top, _, bottom = map(float, cards.first.get_by_test_id("box").get_attribute("data-box").split())
    assert (frame["x"] - drawn["x"]) / drawn["width"] == pytest.approx(left, abs=0.02)
    assert frame["height"] / drawn["height"] == pytest.approx(bottom - top, abs=0.02)
    assert page.locator(".evidence").get_by_test_id("heat").count() == 0


def test_values_lie_over_the_pictures_on_demand(reader, values):
    reader.visit(f"/units/{KEY}")
    reader.page.get_by_test_id("map-on").click()
    reader.page.wait_for_url("**map=on")
    reader.settle()
    card = reader.page.locator(f"[data-testid=pictures-top] {EXAMPLE}").first
    shown = [float(x) for x in card.get_by_test_id("heat").get_attribute("data-values").split()]
    picture = int(card.get_attribute("data-picture"))
    np.testing.assert_allclose(shown, values[picture], rtol=6e-3, atol=1e-3)
    cells = card.locator("svg.heat g rect")
    assert cells.count() == (np.abs(values[picture]) >= 0.02 * values.max()).sum()
    opacities = [float(x) for x in cells.evaluate_all("all => all.map(c => c.getAttribute('opacity'))")]
    assert max(opacities) == pytest.approx(0.1 + 0.75 * values[picture].max() / values.max(), abs=0.01)


def test_an_interval_of_the_histogram_chooses_pictures_from_there(reader, picture_server):
    histogram = httpx.get(f"{picture_server}/api/units/{KEY}").json()["histogram"]
    reader.visit(f"/units/{KEY}")
    reader.page.get_by_label("highest activation of the examples").focus()
    reader.page.keyboard.press("Home")
    reader.page.wait_for_url("**high=*")
    reader.settle()
    acts = [float(act) for act in reader.all(EXAMPLE, "data-act")]
    assert acts
    assert all(histogram["edges"][0] <= act < histogram["edges"][1] for act in acts)
    assert (
        f"{histogram['tokens'][0]:,} of {sum(histogram['tokens']):,} places"
        in reader.page.get_by_test_id("chosen").inner_text()
    )


def test_find_and_home_show_pictures_and_nothing_of_texts(reader):
    reader.visit("/units")
    rows, thumbs = reader.page.get_by_test_id("unit"), reader.page.get_by_test_id("thumb")
    assert rows.count() == thumbs.count() > 0
    thumbs.first.scroll_into_view_if_needed()
    thumbs.first.evaluate("img => img.decode()")
    assert thumbs.first.evaluate("img => img.naturalWidth") == 96
    assert reader.page.get_by_test_id("by-text").count() == 0
    reader.visit("/")
    assert reader.page.get_by_test_id("pictures").get_attribute("data-value") == str(N)
    assert reader.page.get_by_test_id("begin").get_by_test_id("thumb").count() > 0
    words = reader.page.locator("#page").inner_text()
    assert f"{N} pictures" in words
    assert not re.search(r"\btokens?\b|\bprompt\b|\bwindows\b", words)


def test_the_lab_clamps_a_channel_on_a_picture(reader):
    model = pc.load("organism:digits-cnn")
    from patchclamp.core.intervention import clamp

    bare = model.run("digits:17").logits[0].softmax(-1)
    off = model.run("digits:17", interventions=[clamp(f"{SITE}/channels/8=0")]).logits[0].softmax(-1)
    reader.visit("/lab?picture=17")
    page = reader.page
    assert [x for x in reader.all("[data-testid=class]", "data-after") if x] == []
    page.get_by_test_id("add-key").fill(f"{SITE}/channels/8")
    page.get_by_role("button", name="add").click()
    page.wait_for_selector("[data-testid=class]:not([data-after=''])")
    reader.settle()
    for row in page.get_by_test_id("class").all():
        index = int(row.get_attribute("data-index"))
        assert float(row.get_attribute("data-before")) == pytest.approx(float(bare[index]), abs=1e-4)
        assert float(row.get_attribute("data-after")) == pytest.approx(float(off[index]), abs=1e-4)
    page.get_by_test_id("random-sets").click()
    control = page.get_by_test_id("control")
    control.wait_for()
    measured = float(off.log()[7] - bare.log()[7])
    assert float(control.get_attribute("data-measured")) == pytest.approx(measured, abs=1e-3)
    assert 0 < float(control.get_attribute("data-p")) <= 1
    page.get_by_role("button", name="remove").click()
    page.wait_for_selector("[data-testid=class]:not([data-after=''])", state="detached")


def test_another_picture_is_tried_on_the_units_page(reader, values):
    reader.visit(f"/units/{KEY}?picture=5")
    said = reader.page.get_by_test_id("on-picture")
    assert float(said.get_attribute("data-value")) == pytest.approx(values[5].max(), abs=1e-4)
    reader.page.locator(".film [data-picture='9']").click()
    reader.page.wait_for_url("**picture=9")
    reader.settle()
    assert float(said.get_attribute("data-value")) == pytest.approx(values[9].max(), abs=1e-4)
    reader.page.get_by_test_id("trial").get_by_role("slider").press("Home")
    reader.page.wait_for_url("**value=0*")
    reader.settle()
    assert all(reader.all("[data-testid=class]", "data-after"))


def test_an_explained_answer_about_a_picture_opens(reader):
    reader.visit("/graphs")
    reader.page.get_by_role("link", name=re.compile("digits:17")).first.click()
    reader.page.wait_for_url("**/graphs/graph-*")
    reader.settle()
    assert "digits:17" in reader.page.locator("h1").inner_text()
    assert reader.page.get_by_test_id("failure").count() == 0
    # The lab opens on the picture that the answer is about, with its causes clamped.
    reader.page.get_by_role("link", name=re.compile("causes to zero")).click()
    reader.page.wait_for_url(re.compile("/lab[?]"))
    reader.page.wait_for_selector("[data-testid=class]:not([data-after=''])")
    reader.settle()
    assert reader.page.get_by_test_id("picture-number").input_value() == "17"
    assert reader.page.get_by_test_id("clamp").count() == 3


@pytest.mark.parametrize("width", [1280, 400])
def test_every_screen_is_whole_in_both_themes(opened_pictures, width):
    reader = opened_pictures(viewport={"width": width, "height": 900})
    for screen in SCREENS:
        reader.visit(screen)
        for theme in ("light", "dark"):
            reader.page.emulate_media(color_scheme=theme)
            for check in ("beyond", "overlaps", "unreadable", "nameless"):
                assert reader.check(check) == [], (screen, theme)


def test_a_hostile_name_is_shown_as_text(reader):
    hostile = "<img src=x onerror=\"document.title='taken'\">"

    def answer(route):
        real = route.fetch()
        route.fulfill(response=real, body=real.text().replace("digits:", hostile.replace('"', '\\"')))

    reader.page.route(re.compile(r"/api/units/.*/pictures|/api/pictures\?"), answer)
    reader.visit(f"/units/{KEY}")
    assert hostile in reader.page.locator("#page").inner_text()
    assert reader.page.title() != "taken"
    assert reader.page.locator("img[src=x]").count() == 0
