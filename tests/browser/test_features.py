"""Features in the pages: found, read and clamped like neurons."""

import shutil
from urllib.parse import urlencode

import numpy as np
import pytest

from conftest import served, windows
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary

SITE = "blocks.0.mlp.act"
KEY = f"cat/{SITE}/planted/0"


@pytest.fixture(scope="module")
def opened_features(chromium, seeded_atlas, tmp_path_factory):
    import patchclamp as pc

    place = tmp_path_factory.mktemp("features") / "seeded.atlas"
    shutil.copytree(seeded_atlas, place)
    model = pc.load("organism:cat")
    decoder = np.eye(model.site(SITE).width, dtype=np.float32)[[7, 5, 3]]
    basis = Basis("planted", "directions", decoder=decoder, encoder=decoder, activation="relu")
    curves = {SITE: {"loss": [[0, 2.0], [10, 1.0], [20, 0.5]]}}
    made = Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash}, "random", curves=curves)
    pc.atlas.add_basis(place, model, made, max_tokens=2000)
    with served(str(place), "--model", "organism:cat") as address, windows(chromium, address) as open_one:
        yield open_one


def test_find_lists_features_and_their_pages_show_examples(opened_features):
    reader = opened_features()
    reader.visit(f"/units?site={SITE}/planted")
    assert reader.all("[data-testid=unit]", "data-key") == [f"cat/{SITE}/planted/{i}" for i in range(3)]
    reader.page.locator(f"[data-key='{KEY}'] a").first.click()
    reader.page.wait_for_selector("text=planted/")
    reader.settle()
    assert reader.page.locator("text=cat").count() > 2


def test_the_lab_clamps_a_feature(opened_features):
    reader = opened_features()
    divergences = []
    for key in (KEY, f"cat/{SITE}/neurons/7"):
        reader.visit("/lab?" + urlencode({"text": "the old cat", "clamp": f"{key} set 0"}))
        reader.page.wait_for_selector("[data-testid=result][data-neutral=false]")
        assert reader.all("[data-testid=clamp]", "data-key") == [key]
        divergences += map(float, reader.all("[data-testid=result]", "data-divergence"))
    assert divergences[0] == pytest.approx(divergences[1], rel=1e-4)
    assert divergences[0] > 0.1


def test_training_curves_stand_on_the_run(opened_features):
    reader = opened_features()
    reader.visit("/runs")
    row = next(id for id in reader.all("[data-testid=run]", "data-run") if id.startswith("basis-"))
    reader.visit(f"/runs/{row}")
    assert reader.all("[data-testid=curve]", "data-measure") == ["loss"]
