"""The page of an attention head: the planted source of a target, by mouse and by keyboard, and what its weights say."""

import httpx
import pytest

INDUCTION = "/units/induction-gpt2/blocks.1.attn.z/heads/2"
BEFORE = "/units/induction-gpt2/blocks.0.attn.z/heads/1"
TOKEN = "[data-testid=attention-token]"


def weights(figure):
    """Text and weight of every source of the target that is shown."""
    found = figure.locator(TOKEN).evaluate_all("all => all.map(t => [t.dataset.text, Number(t.dataset.weight)])")
    return [(text, weight) for text, weight in found]


@pytest.fixture
def page(pairs_reader):
    pairs_reader.visit(INDUCTION)
    return pairs_reader.page


def test_the_planted_source_of_a_target_is_shown_in_numbers(page, pairs_reader, pairs_server):
    figure = page.get_by_test_id("attention")
    # A first name that stands in the text before: the head attends to the last name that followed it.
    tokens = [text for text, _ in weights(figure)]
    target = next(i for i, text in enumerate(tokens) if text == " Tom" and " Tom" in tokens[:i])
    figure.locator(TOKEN).nth(target).click()
    assert figure.get_attribute("data-target") == str(target)
    shown = weights(figure)
    best = max(range(len(shown)), key=lambda i: shown[i][1])
    assert (shown[best][0], shown[best - 1][0]) == (" Reed", " Tom")
    assert best < target
    # What the page draws is what the server gives, and the number stands under the token.
    [pattern] = httpx.get(f"{pairs_server}/api{INDUCTION}/attention").json()["heads"]
    assert [weight for _, weight in shown][: target + 1] == pattern["rows"][target]
    number = figure.locator(TOKEN).nth(best).locator(".v").inner_text()
    assert float(number) == pytest.approx(100 * shown[best][1], abs=0.5)
    said = figure.get_by_test_id("attention-source").first
    assert (said.get_attribute("data-text"), said.locator("b").inner_text()) == (" Reed", f"{number} %")


def test_hover_previews_a_target_and_the_keyboard_chooses_one(page):
    figure = page.get_by_test_id("attention")
    tokens = figure.locator(TOKEN)
    tokens.nth(9).click()
    tokens.nth(4).hover()
    assert figure.get_attribute("data-target") == "4"
    assert tokens.nth(9).get_attribute("aria-checked") == "true"
    page.mouse.move(0, 0)
    assert figure.get_attribute("data-target") == "9"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert figure.get_attribute("data-target") == "7"
    assert page.evaluate("document.activeElement.getAttribute('aria-checked')") == "true"
    page.keyboard.press("Home")
    assert figure.get_attribute("data-target") == "0"
    page.keyboard.press("End")
    assert figure.get_attribute("data-target") == str(tokens.count() - 1)
    # One stop of the tab key for all tokens.
    assert tokens.evaluate_all("all => all.filter(t => t.tabIndex === 0).length") == 1


def test_another_example_is_another_pattern(page, pairs_server):
    figure = page.get_by_test_id("attention")
    page.get_by_test_id("which-example").select_option(label="random 2")
    found = httpx.get(f"{pairs_server}/api{INDUCTION}/attention", params={"kind": "random", "rank": 1}).json()
    page.wait_for_function(
        "mark => document.querySelector('[data-testid=attention]').dataset.target === mark", arg=str(found["mark"])
    )
    assert [text for text, _ in weights(figure)] == found["tokens"]


def test_pairs_and_weights_are_those_of_the_server(page, pairs_reader, pairs_server):
    head = httpx.get(f"{pairs_server}/api{INDUCTION}").json()["head"]
    rows = page.locator("[data-testid=attends] tbody tr")
    drawn = rows.evaluate_all("all => all.map(r => [r.dataset.source, r.dataset.target, Number(r.dataset.weight)])")
    assert drawn == [[p["source"]["text"], p["target"]["text"], p["weight"]] for p in head["attends"][: len(drawn)]]
    assert [" Reed", " Tom"] in [row[:2] for row in drawn]
    for row in page.locator("[data-testid=ov-tokens] tbody tr").all():
        assert row.get_attribute("data-source") == row.get_attribute("data-promoted")
    names = pairs_reader.all("[data-share]", "data-share")
    assert [float(x) for x in pairs_reader.all("[data-share]", "data-value")] == [head["shares"][n] for n in names]
    pairs_reader.visit(BEFORE)
    previous = pairs_reader.page.locator("[data-share=previous]")
    assert float(previous.get_attribute("data-value")) > 0.9


def test_keys_name_the_head_that_they_read_and_lead_to_it(page, pairs_reader, pairs_server):
    head = httpx.get(f"{pairs_server}/api{INDUCTION}").json()["head"]
    first = page.locator("[data-testid=key_reads] tbody tr").first
    assert first.get_attribute("data-unit") == BEFORE.removeprefix("/units/")
    assert float(first.get_attribute("data-value")) == head["key_reads"][0]["value"] >= 1
    assert "none stands out" in page.get_by_test_id("no-query_reads").inner_text()
    first.get_by_role("link").click()
    page.wait_for_url(f"**{BEFORE}")
    pairs_reader.settle()
    assert "no unit of an earlier block" in page.get_by_test_id("no-key_reads").inner_text()


def test_a_text_of_ones_own_takes_the_place_of_the_examples(page, pairs_reader, pairs_server):
    text = "Eva Hall met Tom Reed. Later Eva"
    pairs_reader.visit(f"{INDUCTION}?try={text.replace(' ', '%20')}")
    shown = weights(pairs_reader.page.get_by_test_id("attention"))
    assert shown[-1][0] == " Eva"
    assert max(shown, key=lambda one: one[1])[0] == " Hall"
    asked = {"text": text, "layer": 1, "head": 2}
    live = httpx.get(f"{pairs_server}/api/lab/attention", params=asked).json()
    assert [weight for _, weight in shown] == live["heads"][0]["rows"][-1]
