"""Where on a picture an answer comes from: sums of scores by place, against plain gradients and the scores."""

import re

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles.hooks import hooked
from patchclamp.attribute.prompt import attribute_nodes
from patchclamp.core.picture_heat import sum_maps
from patchclamp.core.unit import UnitKey
from patchclamp.report.picture import heat_figure
from patchclamp.subjects.images import digits

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits are shown")
CONVOLUTIONS = {
    f"blocks.{i}.conv1.act": f"resnet.encoder.stages.{stage}.layers.{layer}.layer.0.activation"
    for i, (stage, layer) in enumerate([(0, 0), (0, 1), (1, 0)])
}


@pytest.fixture(scope="module")
def explained(organism):
    return {
        name: pc.explain(organism(name), "digits:17", "7", contrast="4", top=3, n_controls=20, method=method)
        for name, method in (("digits-cnn", "attribution_patching"), ("digits-vit", "relp"))
    }


def test_channels_are_summed_place_by_place_as_a_plain_gradient_says(explained, organism):
    model, found = organism("digits-cnn"), explained["digits-cnn"].heat
    x, kept = torch.from_numpy(model.prepare(digits()[0][17]))[None], {}

    def keep(path):
        def see(value):
            value.retain_grad()
            kept[path] = value

        return see

    handles = [hooked(model.module, module, "out", keep(path)) for path, module in CONVOLUTIONS.items()]
    logits = model.module(x).logits[0]
    (logits[7] - logits[4]).backward()
    for handle in handles:
        handle.remove()
    model.module.zero_grad()
    assert [one.site for one in found.maps] == list(CONVOLUTIONS)
    for one in found.maps:
        expected = (kept[one.site] * kept[one.site].grad).sum((0, 1)).detach().numpy()
        np.testing.assert_allclose(one.values, expected, atol=1e-4)
    assert np.ptp(found.together()) > 0.1
    assert found.together().sum() == pytest.approx(explained["digits-cnn"].total, abs=1e-3)


def test_patches_are_the_scores_summed_by_place(explained, organism):
    one = explained["digits-vit"]
    metric = one.case.metric
    scores = attribute_nodes(organism("digits-vit"), "digits:17", metric, method="relp")
    sums = np.zeros(17)
    for key, value in zip(scores.parts, scores.values, strict=True):
        sums[UnitKey.parse(key).position] += value
    np.testing.assert_allclose(one.heat.together().ravel(), sums[1:], atol=1e-6)
    assert one.heat.apart == pytest.approx(sums[0], abs=1e-6)
    said = one.to_json()["heat"]
    assert (said["rows"], said["columns"]) == (4, 4)
    np.testing.assert_allclose(said["values"], sums[1:].reshape(4, 4), atol=1e-6)


def test_the_report_shows_the_largest_place_darkest_and_the_sign_by_a_bar(explained, tmp_path):
    one = explained["digits-vit"]
    pc.save_report(one, tmp_path / "why.html")
    page = (tmp_path / "why.html").read_text()
    svg = re.search(r'<svg class="heat".*?</svg>', page, re.DOTALL)[0]
    cells = re.findall(r'class="(carries|against)" x="([\d.]+)" y="([\d.]+)".*?fill-opacity="([\d.]+)"', svg)
    values = one.heat.together()
    darkest = max(cells, key=lambda cell: float(cell[3]))
    assert (float(darkest[2]) / 2, float(darkest[1]) / 2) == np.unravel_index(np.abs(values).argmax(), (4, 4))
    assert [cell[0] for cell in cells if cell[0] == "against"] == ["against"] * int(
        (values < -0.02 * np.abs(values).max()).sum()
    )
    assert svg.count('class="bar"') == (values <= -0.1 * np.abs(values).max()).sum()
    assert f"carry {one.heat.apart:+.2f}" in page
    assert "http" not in svg


def test_text_has_no_heat(cat, explained):
    found = pc.explain(cat, "the old cat", " sat", contrast=" ran", top=3, n_controls=20)
    assert found.heat is None
    assert "heat" not in found.to_json()


def test_maps_of_several_sizes_are_spread_evenly():
    draw = np.random.default_rng(0)
    fine, coarse, odd = draw.normal(size=(6, 6)), draw.normal(size=(3, 2)), draw.normal(size=(4, 5))
    np.testing.assert_allclose(sum_maps([fine, coarse], 6, 6), fine + np.kron(coarse, np.full((2, 3), 1 / 6)))
    whole = sum_maps([odd], 60, 60)
    np.testing.assert_allclose(whole, np.kron(odd, np.full((15, 12), 1 / 180)))
    assert sum_maps([odd], 3, 7).sum() == pytest.approx(odd.sum())


def test_nothing_is_drawn_where_there_is_nothing():
    assert heat_figure(np.zeros((2, 2), dtype=np.uint8), [[0.0, 0.0]]) == ""
    assert heat_figure(np.zeros(4, dtype=np.uint8), [[1.0]]) == ""
