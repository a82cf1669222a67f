"""A circuit that was found over pairs: the planted one is what is seen, and verify holds predicted against measured."""

import httpx
import pytest

ITEM = "[data-testid=item]"
EARLY, LATE = "blocks.0.attn.z/heads/1", "blocks.1.attn.z/heads/2"
EFFECT = 7.844


@pytest.fixture(scope="module")
def circuits(pairs_server):
    """Ids by level."""
    rows = httpx.get(f"{pairs_server}/api/graphs").raise_for_status().json()["rows"]
    pages = [httpx.get(f"{pairs_server}/api/graphs/{row['id']}").raise_for_status().json() for row in rows]
    return {page["about"]["level"]: page["graph"]["id"] for page in pages}


def item(reader, id):
    return reader.page.locator(f'{ITEM}[data-id="{id}"]')


def value(reader, testid, attribute="data-value"):
    text = reader.page.get_by_test_id(testid).get_attribute(attribute)
    return float(text) if text else None


def verified(reader):
    reader.page.get_by_test_id("verify-button").click()
    reader.page.get_by_test_id("verified").wait_for()
    return [value(reader, "verified", f"data-{name}") for name in ("predicted", "measured", "low", "high")]


def test_the_planted_circuit_of_edges_is_all_that_is_seen(pairs_reader, circuits):
    pairs_reader.visit(f"/graphs/{circuits['edge']}?keep=1")
    assert set(pairs_reader.all(ITEM, "data-id")) == {"embed/whole/0", EARLY, LATE, "output"}
    assert "at all positions" in pairs_reader.page.get_by_test_id("tokens").inner_text()
    assert "one pair of prompts" in pairs_reader.page.get_by_test_id("over-pairs").inner_text()
    item(pairs_reader, EARLY).click()
    assert "as v" in pairs_reader.page.get_by_test_id("inputs").inner_text()
    assert "as k" in pairs_reader.page.get_by_test_id("outputs").inner_text()


def test_verify_prints_predicted_next_to_measured(pairs_reader, circuits):
    pairs_reader.visit(f"/graphs/{circuits['edge']}?select={EARLY}")
    predicted, measured, low, high = verified(pairs_reader)
    assert predicted == pytest.approx(EFFECT, abs=0.01)
    assert measured == pytest.approx(EFFECT, abs=0.01)
    assert low <= high < measured
    said = pairs_reader.page.get_by_test_id("verified").inner_text()
    assert said.count("+7.84") >= 2
    # Both heads together take no more than either: they stand in series.
    item(pairs_reader, LATE).click(modifiers=["Shift"])
    pairs_reader.page.get_by_test_id("verified").wait_for(state="detached")
    predicted, measured, *_ = verified(pairs_reader)
    assert predicted is None
    assert measured == pytest.approx(EFFECT, abs=0.01)
    # The whole of a site can be replaced too, and is nothing that the lab clamps. Nothing is like the embedding.
    item(pairs_reader, "embed/whole/0").click()
    pairs_reader.page.get_by_test_id("verified").wait_for(state="detached")
    _, measured, *ends = verified(pairs_reader)
    assert measured == pytest.approx(EFFECT, abs=0.01)
    assert ends == [None, None]
    assert pairs_reader.page.get_by_test_id("open-lab").count() == 0


def test_by_position_units_stand_at_their_tokens(pairs_reader, circuits):
    pairs_reader.visit(f"/graphs/{circuits['neuron']}")
    assert set(pairs_reader.all(ITEM, "data-id")) == {f"{EARLY}@2", f"{LATE}@8", "output"}
    assert "Lane" in pairs_reader.page.get_by_test_id("tokens").inner_text()
    item(pairs_reader, f"{EARLY}@2").click()
    predicted, measured, *_ = verified(pairs_reader)
    assert predicted == pytest.approx(measured, abs=0.01)


def test_names_place_and_contrast(pairs_reader, circuits):
    for view in ("grid", "list"):
        pairs_reader.visit(f"/graphs/{circuits['edge']}?view={view}&select={EARLY}")
        for check in ("nameless", "overlaps", "unreadable", "beyond"):
            assert pairs_reader.check(check) == [], (view, check)
