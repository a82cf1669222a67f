"""Features in the pages: found, read and clamped like neurons."""

from urllib.parse import urlencode

import pytest

SITE = "blocks.0.mlp.act"
KEY = f"cat/{SITE}/planted/0"


def test_find_lists_features_and_their_pages_show_examples(features_opened):
    reader = features_opened()
    reader.visit(f"/units?site={SITE}/planted")
    assert reader.all("[data-testid=unit]", "data-key") == [f"cat/{SITE}/planted/{i}" for i in range(3)]
    reader.page.locator(f"[data-key='{KEY}'] a").first.click()
    reader.page.wait_for_selector("text=planted/")
    reader.settle()
    assert reader.page.locator("text=cat").count() > 2


def test_the_lab_clamps_a_feature(features_opened):
    reader = features_opened()
    divergences = []
    for key in (KEY, f"cat/{SITE}/neurons/7"):
        reader.visit("/lab?" + urlencode({"text": "the old cat", "clamp": f"{key} set 0"}))
        reader.page.wait_for_selector("[data-testid=result][data-neutral=false]")
        assert reader.all("[data-testid=clamp]", "data-key") == [key.removeprefix("cat/")]
        divergences += map(float, reader.all("[data-testid=result]", "data-divergence"))
    assert divergences[0] == pytest.approx(divergences[1], rel=1e-4)
    assert divergences[0] > 0.1


def test_training_curves_stand_on_the_run(features_opened):
    reader = features_opened()
    reader.visit("/runs")
    row = next(id for id in reader.all("[data-testid=run]", "data-run") if id.startswith("basis-"))
    reader.visit(f"/runs/{row}")
    assert reader.all("[data-testid=curve]", "data-measure") == ["loss"]
