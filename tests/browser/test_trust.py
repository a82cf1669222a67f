"""Trust shows methods beside controls and what does not hold; a button on a unit's page describes that unit."""

from seeded import ANIMAL, CAT, SITE, WRONG


def number(locator, name="data-value"):
    return float(locator.get_attribute(name))


def test_scores_stand_above_shuffled_and_random_ones_and_lead_to_their_run(described, described_server):
    described.visit("/trust")
    method = described.page.locator(f"[data-testid=method][data-run={described_server[1]}]")
    row = method.locator("[data-measure='detection: balanced accuracy']")
    assert number(row) > number(row.get_by_test_id("shuffled")) + 0.2
    assert number(row) > number(row.get_by_test_id("random")) + 0.2
    links = row.get_by_role("link").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert set(links) == {f"/runs/{described_server[1]}"}
    assert len(links) == 3
    row.get_by_role("link").first.click()
    described.page.wait_for_url(f"**/runs/{described_server[1]}")


def test_where_the_answer_is_planted_the_oracle_leads_and_chance_is_last(described):
    described.visit("/trust")
    rows = described.page.get_by_test_id("truth").all()
    for row in rows:
        assert number(row, "data-oracle") >= number(row, "data-method") > number(row, "data-random")
    assert rows


def test_a_wrong_description_is_listed_with_the_windows_that_it_gets_wrong(reader):
    reader.visit("/trust")
    reader.page.get_by_test_id("draw").filter(has_text="person/seed 1").click()
    reader.settle()
    [row] = reader.page.get_by_test_id("failing-unit").all()
    assert row.get_attribute("data-key") == f"cat/{SITE}/neurons/{WRONG}"
    row.get_by_role("link").last.click()
    reader.page.wait_for_url("**kind=counter")
    reader.settle()
    assert reader.page.get_by_test_id("example").count() > 0


def test_points_are_drawn_for_the_measure_that_was_chosen(described, described_server):
    described.visit("/trust")
    described.page.get_by_test_id("draw").filter(has_text="fuzzing: AUROC").click()
    described.settle()
    assert "measure=fuzzing" in described.address
    drawn = described.page.get_by_test_id("drawn")
    assert drawn.inner_text().startswith("fuzzing: AUROC")
    assert described.page.locator("[data-testid=points] [data-key]").count() == int(drawn.get_attribute("data-drawn"))


def test_a_unit_is_found_by_its_description(described):
    described.visit("/units?q=rabbit&min_score=0.8")
    assert f"cat/{SITE}/neurons/{ANIMAL}" in described.all("[data-testid=unit]", "data-key")


def test_a_button_describes_a_unit_which_can_then_be_kept(tabs):
    tab = tabs(f"/units/{SITE}/neurons/{CAT}")
    page = tab.page
    page.get_by_test_id("describe-it").click()
    found = page.get_by_test_id("described")
    found.wait_for()
    assert found.get_attribute("data-text") == 'the token " cat"'
    assert number(found.get_by_test_id("described-score").first) == 1.0
    page.get_by_test_id("keep-it").click()
    kept = page.get_by_test_id("kept-as")
    kept.wait_for()
    tab.visit(f"/units/{SITE}/neurons/{CAT}")
    texts = page.get_by_test_id("description").locator("blockquote").all_inner_texts()
    assert 'the token " cat"' in texts


def test_a_unit_that_never_changes_says_why_it_has_no_description(lab_opened, api):
    silent = next(row["key"] for row in api("/units", limit=200)["rows"] if not row["maximum"])
    reader = lab_opened()
    reader.visit(f"/units/{silent}")
    reader.page.get_by_test_id("describe-it").click()
    said = reader.page.get_by_test_id("not-described")
    said.wait_for()
    assert "the same everywhere" in said.inner_text()


def test_without_a_model_there_is_no_button(reader, cat):
    reader.visit(f"/units/{cat}")
    assert reader.page.get_by_test_id("describe-it").count() == 0
