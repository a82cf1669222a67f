"""Find searches, filters, sorts and pages as the API does, and keeps all of it in the address."""

import math
import re
from urllib.parse import parse_qs, urlsplit

import pytest

ROWS = "[data-testid=unit]"


def asked(reader):
    return {name: values[0] for name, values in parse_qs(urlsplit(reader.page.url).query).items()}


def search(reader, words):
    reader.page.get_by_test_id("search").fill(words)
    reader.page.wait_for_url(re.compile(r"[?&]q="))
    reader.settle()


def test_cat_finds_its_neuron_first(reader, cat):
    reader.visit("/units")
    search(reader, "cat")
    assert reader.all(ROWS, "data-key")[0] == cat
    assert "cat" in reader.page.locator(ROWS).first.inner_text()


def test_a_score_filter_leaves_as_many_rows_as_the_api_counts(reader, api, cat):
    reader.visit("/units")
    reader.page.locator("summary").click()
    reader.page.get_by_label("lowest score").fill("0.8")
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_url("**min_score=0.8*")
    reader.settle()
    total = api("/units", min_score=0.8)["total"]
    assert 0 < total < api("/units")["total"]
    assert reader.page.locator(ROWS).count() == total
    assert reader.all("[data-testid=shown]", "data-total") == [str(total)]
    assert all(float(score) >= 0.8 for score in reader.all(ROWS, "data-score"))
    assert cat in reader.all(ROWS, "data-key")


def test_reload_keeps_every_filter(reader):
    reader.visit("/units?q=cat&min_frequency=0.001&max_maximum=100&site=blocks.0.mlp.act&sort=maximum&descending=true")
    before = reader.all(ROWS, "data-key")
    assert before
    reader.page.reload()
    reader.settle()
    assert reader.all(ROWS, "data-key") == before
    assert reader.page.get_by_test_id("search").input_value() == "cat"
    # Shares are typed in percent.
    assert reader.page.get_by_label("lowest fires at").input_value() == "0.1"
    assert reader.page.get_by_label("highest max").input_value() == "100"
    assert reader.page.get_by_label("site", exact=True).input_value() == "blocks.0.mlp.act"
    assert reader.page.get_by_test_id("sort").input_value() == "maximum"


def test_bars_of_how_often_units_fire_are_logarithmic_and_say_so(reader, api):
    reader.visit("/units?sort=frequency&descending=true")
    shares = {row["key"]: row["frequency"] for row in api("/units?sort=frequency&descending=true")["rows"]}
    for row in reader.page.locator("[data-testid=unit]:has(.rare)").all():
        filled = row.locator(".rare i i").evaluate("bar => bar.offsetWidth / bar.parentElement.offsetWidth")
        share = shares[row.get_attribute("data-key")]
        assert filled == pytest.approx(1 + math.log10(max(share, 1e-4)) / 4, abs=0.03)
    assert max(shares.values()) > 0.1
    assert "log, 0.01" in reader.page.get_by_role("columnheader", name="fires at").inner_text()


def test_a_percentage_is_asked_for_as_a_share(reader):
    reader.visit("/units")
    reader.page.locator("summary").click()
    reader.page.get_by_label("highest fires at").fill("2.5")
    reader.page.keyboard.press("Tab")
    reader.page.wait_for_url("**max_frequency=*")
    assert asked(reader) == {"max_frequency": "0.025"}


def test_column_heads_sort_and_turn_round(reader, api):
    reader.visit("/units")
    head = reader.page.get_by_role("columnheader", name="max")
    head.get_by_role("link").click()
    reader.settle()
    assert head.get_attribute("aria-sort") == "descending"
    falling = reader.all(ROWS, "data-key")
    assert falling == [row["key"] for row in api("/units", sort="maximum", descending=True)["rows"]]
    head.get_by_role("link").click()
    reader.settle()
    assert head.get_attribute("aria-sort") == "ascending"
    assert reader.all(ROWS, "data-key") == [
        row["key"] for row in api("/units", sort="maximum", descending=False)["rows"]
    ]


def test_pages_of_the_list_hold_every_unit_once(reader, api):
    total = api("/units")["total"]
    reader.visit("/units?limit=10")
    seen = reader.all(ROWS, "data-key")
    while reader.page.get_by_test_id("after").count():
        reader.page.get_by_test_id("after").first.click()
        reader.page.wait_for_selector(f"tbody tr:first-child:not([data-key='{seen[-10]}'])")
        reader.settle()
        seen += reader.all(ROWS, "data-key")
    assert len(seen) == len(set(seen)) == total
    words = reader.page.get_by_test_id("shown").inner_text()
    assert f"{total} units" in words


def test_fires_on_finds_the_token_with_and_without_its_space(reader, cat):
    for token in ("cat", "%20cat"):
        reader.visit(f"/units?fires_on={token}")
        assert cat in reader.all(ROWS, "data-key")


def test_nothing_found_says_so_and_offers_a_way_out(reader, api):
    reader.visit("/units?q=qqqqqqqq")
    said = reader.page.get_by_test_id("nothing")
    assert f"None of the {api('/atlas')['n_units']} units" in said.inner_text()
    said.get_by_role("link").click()
    reader.settle()
    assert reader.page.locator(ROWS).count() > 0


def test_typing_more_letters_is_one_step_back(reader):
    reader.visit("/")
    reader.visit("/units")
    search(reader, "c")
    reader.page.get_by_test_id("search").fill("cat")
    reader.page.wait_for_url("**q=cat*")
    reader.page.go_back()
    reader.settle()
    assert reader.address == "/units"
    assert reader.page.get_by_test_id("search").input_value() == ""


def test_an_unreadable_question_is_answered_in_three_parts(reader):
    reader.visit("/units?sort=nonsense")
    said = reader.page.get_by_test_id("failure")
    assert said.get_attribute("data-status") == "400"
    assert "expected" in said.inner_text()
    assert "openapi" in said.inner_text()
    reader.faults[:] = [fault for fault in reader.faults if "400" not in fault]


def test_a_row_shows_its_best_example_with_the_peak_marked(reader, api, cat):
    reader.visit("/units?q=cat")
    row = reader.page.locator(f"[data-testid=unit][data-key='{cat}']")
    one = next(r for r in api("/units", q="cat")["rows"] if r["key"] == cat)
    mark = row.locator(".peak .mark")
    assert mark.get_attribute("data-text").strip() == mark.inner_text().strip() == "cat"
    assert float(row.get_by_test_id("peak").get_attribute("data-act")) == pytest.approx(3.0)
    assert one["example"]["acts"][one["example"]["mark"]] == pytest.approx(3.0)
    assert "detects cat, AUROC 1.00" in row.get_by_test_id("line").inner_text()


def test_why_a_unit_was_found_is_marked(reader, api):
    rows = api("/units", q="sat")["rows"]
    assert rows
    reader.visit("/units?q=sat")
    for one in rows:
        assert one["matched"], one["key"]
        row = reader.page.locator(f"[data-testid=unit][data-key='{one['key']}']")
        marked = {text.lower() for text in row.locator("mark").all_inner_texts()}
        assert marked == {"sat"}
    assert any(match["of"] == "promotes" for one in rows for match in one["matched"])


def test_columns_that_would_be_empty_are_left_out(reader):
    reader.visit("/units?described=false")
    heads = " ".join(reader.page.locator("[data-testid=units] thead th").all_inner_texts())
    assert "score" not in heads
    assert "fires at" in heads
    reader.visit("/units?described=true")
    assert "score" in " ".join(reader.page.locator("[data-testid=units] thead th").all_inner_texts())


def test_units_that_never_fired_stand_last(reader, api):
    silent = [row["maximum"] is None or row["maximum"] <= 0 for row in api("/units", q="fires", limit=200)["rows"]]
    assert any(silent)
    assert not all(silent)
    assert silent == sorted(silent)


@pytest.mark.parametrize(
    "typed",
    ["0/7", "block 0 MLP neuron 7", "Layer 0 · neuron 7", "mlp.act/neurons/7", "cat/blocks.0.mlp.act/neurons/7"],
)
def test_a_unit_is_found_by_what_it_is_called(reader, cat, typed):
    reader.visit("/units")
    search(reader, typed)
    assert cat in reader.all(ROWS, "data-key")
    assert reader.all(ROWS, "data-key")[0].rpartition("/")[2] == "7"
    assert {key.rpartition("/")[2] for key in reader.all(ROWS, "data-key")} == {"7"}


def test_a_part_of_a_key_finds_its_whole_site(reader, api):
    reader.visit("/units?q=blocks.0.mlp")
    sites = {row["site"]: row["units"] for row in api("/atlas")["sites"]}
    assert reader.all("[data-testid=shown]", "data-total") == [str(sites["blocks.0.mlp.act"])]
    assert all("/blocks.0.mlp.act/" in key for key in reader.all(ROWS, "data-key"))


def test_heads_are_found_by_where_they_attend_to(reader, api):
    heads = [row for row in api("/units", limit=200)["rows"] if row["basis"] == "heads"]
    lines = {row["key"]: " ".join(part["text"] for part in row["line"]) for row in heads}
    attending = {key for key, line in lines.items() if "attends" in line}
    assert attending
    reader.visit("/units?q=attends")
    assert attending <= set(reader.all(ROWS, "data-key"))


def test_what_is_searched_is_said_and_a_word_without_a_token_is_named(reader):
    reader.visit("/units?q=qqqqqqqq")
    said = reader.page.get_by_test_id("nothing").inner_text()
    assert all(word in said for word in ("descriptions", "notes", "heads attend to", "2/16"))
    assert "“qqqqqqqq”" in reader.page.get_by_test_id("unknown").inner_text()
    reader.visit("/units?q=cat&min_score=2")
    assert reader.page.get_by_test_id("nothing").count() == 1
    assert reader.page.get_by_test_id("unknown").count() == 0
