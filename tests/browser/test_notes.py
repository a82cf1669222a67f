"""Notes, stars and descriptions are written on the page; and units are found by a text."""

from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest

NOTE, FORM = "[data-testid=note]", "[data-testid=write]"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"> & <b>bold</b>"


def unit_address(write_server, index):
    rows = httpx.get(f"{write_server[0]}/api/units?limit=200").json()["rows"]
    key = next(row["key"] for row in rows if row["index"] == index and row["site"] == "blocks.0.mlp.act")
    return f"/units/{key}"


def fill(reader, text, kind="note"):
    reader.page.get_by_test_id("write-kind").select_option(kind)
    reader.page.get_by_test_id("write-text").fill(text)
    reader.page.get_by_test_id("write-author").fill("Ada")


def send(reader, text, kind="note"):
    fill(reader, text, kind)
    reader.page.get_by_test_id("write-send").click()
    # The words of a description stand among the descriptions, once.
    where = "[data-testid=description]" if kind == "description" else f"{NOTE}[data-kind={kind}]"
    reader.page.locator(where, has_text=text).wait_for()


def test_two_tabs_write_at_once_and_both_are_there(tabs, write_server):
    address = unit_address(write_server, 0)
    one, other = tabs(address), tabs(address)
    fill(one, "from the first tab")
    fill(other, "from the second tab")
    for reader in (one, other):
        reader.page.get_by_test_id("write-send").click(no_wait_after=True)
    for reader in (one, other):
        reader.page.locator(NOTE).first.wait_for()
        reader.page.reload()
        reader.settle()
        reader.page.locator(NOTE).nth(1).wait_for()
        said = reader.page.get_by_test_id("notes").inner_text()
        assert "from the first tab" in said
        assert "from the second tab" in said
        # The form remembers who writes.
        assert reader.page.get_by_test_id("write-author").input_value() == "Ada"


def test_the_token_leaves_the_address_and_stays_with_the_tab(tabs, write_server):
    address = unit_address(write_server, 1)
    reader = tabs(address)
    reader.page.locator(FORM).wait_for()
    assert urlsplit(reader.page.url).fragment == ""
    assert write_server[1] not in reader.page.content()
    reader.page.reload()
    reader.settle()
    reader.page.locator(FORM).wait_for()
    stranger = tabs(address, token=False)
    stranger.page.get_by_test_id("how-to-write").wait_for()
    assert "whole address" in stranger.page.get_by_test_id("how-to-write").inner_text()
    assert stranger.page.locator(FORM).count() == stranger.page.get_by_test_id("star").count() == 0


def test_a_server_that_only_reads_says_how_to_write(reader, cat):
    reader.visit(f"/units/{cat}")
    reader.page.get_by_test_id("how-to-write").wait_for()
    assert "--write" in reader.page.get_by_test_id("how-to-write").inner_text()
    assert reader.page.locator(FORM).count() == 0


def test_hostile_words_are_shown_as_text_and_can_be_taken_back(tabs, write_server):
    reader = tabs(unit_address(write_server, 2))
    send(reader, HOSTILE)
    note = reader.page.locator(NOTE)
    assert HOSTILE in note.inner_text()
    assert note.locator("img, b").count() == 0
    reader.page.get_by_test_id("withdraw").click()
    note.wait_for(state="detached")
    reader.page.get_by_test_id("undo-withdraw").click()
    note.wait_for()
    assert HOSTILE in note.inner_text()
    assert reader.page.title() != "taken"


def test_a_star_marks_the_unit_in_find_and_home_leads_there(tabs, write_server):
    address = unit_address(write_server, 5)
    reader = tabs(address)
    reader.page.get_by_test_id("star").click()
    reader.page.locator("[data-testid=star][aria-pressed=true]").wait_for()
    reader.visit("/")
    reader.page.get_by_test_id("written-here").get_by_role("link", name="starred").click()
    reader.page.wait_for_url("**starred=true")
    reader.settle()
    assert reader.all("[data-testid=unit]", "data-key") == [address.removeprefix("/units/")]
    assert reader.page.get_by_role("img", name="starred").count() == 1
    reader.visit(address)
    reader.page.get_by_test_id("star").click()
    reader.page.locator("[data-testid=star][aria-pressed=false]").wait_for()
    reader.visit("/units?starred=true")
    assert reader.page.locator("[data-testid=unit]").count() == 0


def test_written_words_are_a_description_with_what_contradicts_it(tabs, write_server):
    reader = tabs(unit_address(write_server, 7))
    send(reader, 'fires on " dog", says an aardvark', "description")
    said = reader.page.get_by_test_id("description").filter(has_text="aardvark")
    said.wait_for()
    assert "person/Ada" in said.inner_text()
    assert int(said.get_by_test_id("fails").get_attribute("data-value")) > 0
    reader.visit("/units?q=aardvark")
    assert [key.rsplit("/", 1)[1] for key in reader.all("[data-testid=unit]", "data-key")] == ["7"]
    reader.visit("/notes?kind=description")
    assert "aardvark" in reader.page.get_by_test_id("all-notes").inner_text()


def test_find_by_text_shows_who_responds_most_and_where(tabs, write_server):
    reader = tabs("/units?q=cat")
    reader.page.get_by_test_id("by-text").click()
    reader.page.get_by_test_id("search-text").fill("the old cat")
    reader.page.wait_for_url("**text=the+old+cat**")
    reader.page.get_by_test_id("response").first.wait_for()
    reader.settle()
    asked = {"text": "the old cat"}
    rows = httpx.get(f"{write_server[0]}/api/lab/search", params=asked).json()["rows"]
    shown = reader.page.get_by_test_id("response")
    assert reader.all("[data-testid=response]", "data-key") == [row["key"] for row in rows]
    shares = [float(share) for share in reader.all("[data-testid=response]", "data-share") if share]
    assert all(a >= b for a, b in pairwise(shares))
    cat = next(i for i, row in enumerate(rows) if row["key"].endswith("blocks.0.mlp.act/neurons/7"))
    assert shown.nth(cat).locator(".mark").get_attribute("data-text") == " cat"
    assert "3.00" in shown.nth(cat).inner_text()
    reader.page.reload()
    reader.settle()
    assert reader.page.get_by_test_id("search-text").input_value() == "the old cat"
    assert reader.all("[data-testid=response]", "data-key") == [row["key"] for row in rows]
    # The words that were asked for are still there.
    reader.page.get_by_test_id("by-words").click()
    reader.page.get_by_test_id("search").wait_for()
    assert reader.page.get_by_test_id("search").input_value() == "cat"


@pytest.mark.parametrize("width", [1280, 400])
def test_what_is_written_has_names_places_and_contrast(tabs, write_server, width):
    reader = tabs(unit_address(write_server, 9), viewport={"width": width, "height": 900})
    send(reader, "w" * 300 + " a long word")
    for address in (unit_address(write_server, 9), "/notes", "/units?search=text&text=the+old+cat"):
        reader.visit(address)
        for scheme in ("light", "dark"):
            reader.page.emulate_media(color_scheme=scheme)
            for fault in ("nameless", "overlaps", "unreadable", "beyond"):
                assert reader.check(fault) == [], (address, scheme, fault)
