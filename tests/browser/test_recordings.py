"""Pages of an atlas of a recorded brain: what is drawn are the numbers of its arrays, and nothing can be clamped."""

import json

import numpy as np
import pytest

from recorded_trials import CONSTANT, DECOY, EMPTY, HOSTILE, N_TRIALS, N_UNITS, RATE, TUNED, TWIN, planted_trials

KEY = "planted/recording/neurons/"
SCREENS = (
    "/",
    "/?group=pair",
    "/units",
    *(f"/units/{KEY}{unit}" for unit in (0, TUNED, CONSTANT, EMPTY)),
    "/lab",
    "/ask",
)


@pytest.fixture
def reader(opened_recording):
    return opened_recording()


@pytest.fixture(scope="module")
def brain():
    return planted_trials()


def numbers(locator, name):
    return np.array(json.loads(locator.get_attribute(f"data-{name}")), dtype=float)


def test_the_units_page_draws_the_numbers_of_the_array(reader, brain):
    reader.visit(f"/units/{KEY}{TUNED}")
    page, values = reader.page, brain.values[..., TUNED]
    assert "strongest in side = left, AUROC 1.00" in page.get_by_test_id("line").first.inner_text()
    assert float(page.locator("[data-statistic=mean]").get_attribute("data-value")) == pytest.approx(
        values.mean(), rel=1e-5
    )
    side = brain.trial_labels["side"]
    for condition, rows in (("", values), ("left", values[side == "left"]), ("right", values[side == "right"])):
        course = page.locator(f"[data-testid=course][data-condition='{condition}']")
        assert int(course.get_attribute("data-n")) == len(rows)
        mean, low, high = (numbers(course, name) for name in ("mean", "low", "high"))
        starts = np.arange(80) * values.shape[1] // 80
        bins = np.add.reduceat(rows, starts, axis=1) / np.diff([*starts, values.shape[1]])
        np.testing.assert_allclose(mean, bins.mean(0) * RATE, rtol=1e-3, atol=1e-5)
        assert ((low <= mean) & (mean <= high)).all()
    for condition in ("left", "right"):
        row = page.locator(f"[data-testid=tuning][data-label=side] tr[data-condition={condition}]")
        expected = values[side == condition].mean() * RATE
        assert float(row.get_attribute("data-value")) == pytest.approx(expected, rel=1e-4)
    raster = page.get_by_test_id("raster")
    assert int(raster.get_attribute("data-total")) == values.sum()
    assert raster.locator("path").get_attribute("d").count("M") == int(raster.get_attribute("data-events"))
    assert int(raster.get_attribute("data-events")) == values[: int(raster.get_attribute("data-trials"))].sum()


def test_neighbours_stand_beside_chance_and_lead_to_their_pages(reader, brain):
    reader.visit(f"/units/{KEY}{TUNED}")
    page, r = reader.page, brain.correlation()
    shown = [float(x) for x in reader.all("[data-testid=correlations] tr", "data-value")]
    others = [unit for unit in range(N_UNITS) if unit != TUNED and np.isfinite(r[TUNED, unit])]
    assert shown == pytest.approx(sorted(r[TUNED, others], key=lambda x: -abs(x)), rel=1e-3)
    assert float(page.get_by_test_id("chance").get_attribute("data-value")) < shown[0]
    assert float(page.get_by_test_id("within").get_attribute("data-value")) == pytest.approx(r[TUNED, TWIN], rel=1e-3)
    dots = {
        d.get_attribute("data-unit"): d.get_attribute("data-r") for d in page.locator("[data-testid=tissue] a").all()
    }
    assert len(dots) == N_UNITS - 1
    assert float(dots[f"{KEY}{DECOY}"]) == pytest.approx(r[TUNED, DECOY], abs=2e-3)
    assert dots[f"{KEY}{EMPTY}"] == ""
    assert page.get_by_test_id("own").count() == 1
    page.locator("[data-testid=correlations] a").first.click()
    page.wait_for_url(f"**{KEY}{TWIN}")
    reader.settle()
    assert page.locator("h1").inner_text() == f"cell {TWIN}"


def test_home_says_what_was_recorded_and_marks_groups(reader, brain):
    reader.visit("/")
    page = reader.page
    lead = page.get_by_test_id("recording")
    facts = [int(float(lead.get_attribute(f"data-{name}"))) for name in ("units", "trials", "samples", "rate")]
    assert facts == [N_UNITS, N_TRIALS, brain.n_samples, RATE]
    assert "cannot be clamped" in page.get_by_test_id("cannot").inner_text()
    assert float(page.get_by_test_id("correlation").get_attribute("data-within")) == pytest.approx(
        brain.mean_correlation(brain.groups), rel=1e-4
    )
    assert page.get_by_test_id("missing").get_attribute("data-value") == str(int(np.isnan(brain.values).sum()))
    page.locator("[data-group=pair]").get_by_role("link", name="mark on the map").click()
    page.wait_for_url("**group=pair")
    marked = page.locator("[data-testid=tissue] [data-marked]")
    assert {one.get_attribute("data-unit") for one in marked.all()} == {f"{KEY}{TUNED}", f"{KEY}{TWIN}"}


def test_find_puts_the_planted_units_first_and_draws_a_trace_in_every_row(reader):
    reader.visit("/units?concept=left&sort=concept")
    keys = reader.all("[data-testid=unit]", "data-key")
    assert set(keys[:2]) == {f"{KEY}{TUNED}", f"{KEY}{TWIN}"}
    reader.visit("/units")
    assert reader.page.get_by_test_id("unit").count() == reader.page.get_by_test_id("spark").count() == N_UNITS


def test_nothing_can_be_asked_or_clamped_and_the_pages_say_why(reader):
    for path in ("/lab", "/ask"):
        reader.page.goto(reader.base + path)
        reader.page.get_by_text("A recording cannot be clamped").wait_for()
        assert reader.page.locator("textarea, input[type=range]").count() == 0


def test_the_bar_has_what_works_on_a_recording(reader):
    reader.visit("/")
    bar = reader.page.get_by_role("navigation", name="screens").get_by_role("link").all_inner_texts()
    assert {"Home", "Find"} <= set(bar)
    assert not {"Ask", "Lab", "Layers"} & set(bar)


def test_home_says_what_units_are_called_by(reader, brain):
    reader.visit("/")
    said = reader.page.get_by_test_id("numbered").inner_text()
    numbered = all(name == str(i) for i, name in enumerate(brain.names))
    assert ("counted from 0" in said) == numbered


def test_a_hostile_name_is_text(reader):
    for path in (f"/units/{KEY}0", "/units", f"/units/{KEY}{DECOY}"):
        reader.visit(path)
        assert HOSTILE in reader.page.locator("#page").inner_text()
        assert reader.page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_every_screen_is_whole_in_both_themes(opened_recording, width):
    reader = opened_recording(viewport={"width": width, "height": 900})
    for screen in SCREENS:
        reader.page.goto(reader.base + screen)
        reader.page.wait_for_selector(".origin, .nothing")
        reader.page.wait_for_selector("[aria-busy=true], .waiting", state="detached")
        for theme in ("light", "dark"):
            reader.page.emulate_media(color_scheme=theme)
            for check in ("beyond", "overlaps", "unreadable", "nameless"):
                assert reader.check(check) == [], (screen, theme)
