"""What holds on every screen: keyboard, names for those who listen, narrow and enlarged, hostile text, failures."""

import json
import re
from itertools import pairwise

import pytest

SCREENS = ["/", "/units", "/units?q=cat&min_score=0.1", "unit", "/lab", "/trust", "/runs", "run"]
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture
def address(cat, api):
    return {"unit": f"/units/{cat}", "run": f"/runs/{api('/runs')['rows'][-1]['id']}"}.get


def test_from_find_to_a_unit_by_keyboard_alone(reader, cat):
    reader.visit("/")
    keys = reader.page.keyboard
    keys.press("f")
    reader.page.wait_for_url("**/units")
    reader.settle()
    keys.press("/")
    keys.type("cat")
    reader.page.wait_for_url("**q=cat")
    reader.settle()
    assert reader.page.get_by_test_id("search").input_value() == "cat"
    keys.press("ArrowDown")
    assert reader.page.evaluate("document.activeElement.closest('tr').dataset.key") == cat
    keys.press("ArrowDown")
    keys.press("ArrowUp")
    keys.press("Enter")
    reader.page.wait_for_url(f"**/{cat}")
    reader.settle()
    assert reader.page.get_by_test_id("unit-page").get_attribute("data-key") == cat
    assert reader.page.evaluate("document.activeElement.id") == "page"
    reader.page.go_back()
    reader.settle()
    assert reader.page.get_by_test_id("search").input_value() == "cat"


def test_help_opens_and_single_keys_can_be_turned_off(reader):
    reader.visit("/")
    reader.page.keyboard.press("?")
    dialog = reader.page.get_by_role("dialog")
    assert dialog.is_visible()
    dialog.get_by_role("checkbox").uncheck()
    reader.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    reader.page.keyboard.press("f")
    assert reader.address == "/"
    reader.page.reload()
    reader.settle()
    reader.page.keyboard.press("?")
    assert not dialog.is_visible()


@pytest.mark.parametrize("screen", SCREENS)
def test_everything_has_a_name_a_place_and_contrast(reader, address, screen):
    reader.visit(address(screen, screen))
    page = reader.page
    assert page.locator("h1").count() == 1
    assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
    assert page.get_by_role("navigation", name="screens").count() == 1
    assert page.title().endswith("· atlas")
    levels = page.evaluate("[...document.querySelectorAll('#page :is(h1, h2, h3)')].map(h => Number(h.tagName[1]))")
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert reader.check("nameless") == []
    assert reader.check("overlaps") == []
    assert reader.check("unreadable") == []
    assert reader.check("beyond") == []
    # The dark theme has the same layout and other colours.
    page.emulate_media(color_scheme="dark")
    assert reader.check("unreadable") == []


@pytest.mark.parametrize("width", [640, 400], ids=["enlarged", "narrow"])
def test_nothing_overlaps_or_runs_out_of_the_page(opened, address, width):
    # Enlarging 1280 pixels twofold leaves 640.
    reader = opened(viewport={"width": width, "height": 800}, device_scale_factor=2 if width == 640 else 1)
    for screen in ("/", "/units?q=cat&min_score=0.1", "unit", "/lab", "run"):
        reader.visit(address(screen, screen))
        assert reader.check("beyond") == [], screen
        assert reader.check("overlaps") == [], screen


def test_a_chosen_theme_stays(opened):
    reader = opened(color_scheme="light")
    reader.visit("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = reader.page.evaluate(ground)
    reader.page.get_by_test_id("theme").click()
    assert reader.page.evaluate(ground) == light
    reader.page.get_by_test_id("theme").click()
    dark = reader.page.evaluate(ground)
    assert dark != light
    reader.page.reload()
    reader.settle()
    assert reader.page.evaluate(ground) == dark


def poisoned(body):
    """Return an answer whose every token and text is hostile."""
    text = json.dumps(body)
    replaced = json.dumps(f" {HOSTILE}\u202e\n")
    return re.sub(r'" cat"', lambda _: replaced, text)


@pytest.mark.parametrize("screen", ["/", "/units", "unit"])
def test_hostile_text_appears_as_text(reader, address, screen):
    def answer(route):
        real = route.fetch()
        route.fulfill(response=real, body=poisoned(real.json()))

    reader.page.route("**/api/**", answer)
    reader.visit(address(screen, screen))
    page = reader.page
    assert page.locator("#page img, #page script").count() == 0
    text = page.locator("#page").inner_text().replace("\n", "").replace(" ", "")
    assert HOSTILE.replace(" ", "") in text
    # Neither can it turn the direction of what follows: what cannot be seen is written out.
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert page.title() != "taken"


def test_a_stopped_server_is_named_with_its_remedy(reader, cat):
    reader.visit("/")
    reader.page.route("**/api/**", lambda route: route.abort())
    reader.page.keyboard.press("f")
    said = reader.page.get_by_test_id("failure")
    said.wait_for()
    assert "patchclamp atlas serve" in said.inner_text()
    reader.faults.clear()


def test_a_damaged_atlas_is_named_with_its_remedy(reader):
    refusal = {"error": {"expected": "the base as it was baked", "got": "another hash", "remedy": "Bake it again."}}
    reader.page.route("**/api/atlas", lambda route: route.fulfill(status=503, json=refusal))
    reader.visit("/")
    said = reader.page.get_by_test_id("failure")
    assert said.get_attribute("data-status") == "503"
    assert all(part in said.inner_text() for part in refusal["error"].values())
    reader.faults.clear()


def test_an_unknown_address_is_no_blank_page(reader):
    reader.visit("/nowhere")
    assert "/nowhere" in reader.page.get_by_test_id("failure").inner_text()


def test_the_twin_is_the_same_data(reader, api, cat):
    reader.visit(f"/units/{cat}")
    twin = reader.page.get_by_test_id("twin").get_attribute("href")
    assert api(twin.removeprefix("/api")) == api(f"/units/{cat}")
    assert api(twin.removeprefix("/api"))["key"] == cat


PLANTED = {
    "nameless": "<button></button>",
    "overlaps": "<p>one</p><p style='margin-top: -1.2em'>two</p>",
    "unreadable": "<p style='color: #888; background: #999'>hardly</p>",
    "beyond": "<div style='width: 120vw'>wide</div>",
}


@pytest.mark.parametrize("check", PLANTED)
def test_the_checks_see_what_they_look_for(opened, check):
    reader = opened(bypass_csp=True)
    reader.visit("/runs")
    assert reader.check(check) == []
    reader.page.evaluate(
        "html => document.getElementById('page').insertAdjacentHTML('beforeend', html)", PLANTED[check]
    )
    assert len(reader.check(check)) > 0
