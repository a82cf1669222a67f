"""The digits organisms: what their cards promise, and what explaining their answers shows."""

import json

import numpy as np
import pytest
import torch

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.organisms import card, digits, truth
from patchclamp.subjects.images import gallery

pytest.importorskip("sklearn", reason="needs scikit-learn, whose digits the organisms read")


@pytest.fixture(scope="session")
def models(organism):
    return {name: organism(name) for name in digits.names()}


@pytest.mark.parametrize("name", digits.names())
def test_the_card_says_what_the_shipped_file_does(models, name):
    told, found = card(name), digits.evaluate(models[name])
    assert told["tasks"] == found["tasks"]
    assert told["loss"] == pytest.approx(found["loss"], abs=1e-4)
    assert told["hash"] == models[name].hash
    assert told["bytes"] < 300_000
    assert told["tasks"]["held-out digits"]["interval"][0] > 0.94
    assert told["tasks"]["held-out digits"]["n"] == 450
    assert told["training"]["steps"] == digits.STEPS[name]
    with pytest.raises(PatchclampError, match="planted circuit"):
        truth(name)


def test_training_and_held_out_images_are_apart_and_all():
    shown, held_out = digits.split()
    assert len(held_out) == 450
    assert sorted([*shown, *held_out]) == list(range(1797))


@pytest.mark.parametrize("name", digits.names())
def test_the_recipe_trains_the_same_weights_twice_and_writes_a_model_with_a_card(tmp_path, name):
    for folder in ("one", "two"):
        digits.train(digits.Recipe(name, steps=6, images=8), tmp_path / folder)
    one, two = (pc.load(tmp_path / folder) for folder in ("one", "two"))
    assert one.hash == two.hash
    assert not torch.equal(one.run(np.zeros((8, 8), int)).logits, digits.build(name).run(np.zeros((8, 8), int)).logits)
    found = digits.write_card(tmp_path / "one", name)
    assert json.loads((tmp_path / "one" / "card.json").read_text())["training"]["steps"] == 6
    assert found["tasks"]["held-out digits"]["accuracy"] < 0.9


@pytest.mark.parametrize("name", digits.names())
def test_the_named_units_carry_more_than_random_ones(models, name):
    model, beaten = models[name], 0
    _, held_out = digits.split()
    for i in held_out[:4]:
        first, second = model.run(f"digits:{i}").logits[0].topk(2).indices.tolist()
        found = pc.explain(model, f"digits:{i}", first, contrast=second, top=5)
        beaten += found.measured > max(found.receipts.randoms.measured)
        assert found.receipts.agreement.spearman > 0.5
        kind = {"digits-vit": {"neuron", "head"}, "digits-cnn": {"channel"}}[name]
        assert {c.kind for c in found.causes} <= kind
    assert beaten >= 3


def test_another_image_is_a_reference_and_so_are_the_means_of_a_survey(models, tmp_path):
    model = models["digits-cnn"]
    found = pc.explain(model, "digits:17", "7", contrast="4", counterpart="digits:4", top=5)
    assert found.baseline == "corrupted"
    assert found.metric_baseline == pytest.approx(
        float(model.measure("digits:4", pc.Metric("logit_difference", (7,), (4,)))[0])
    )
    means = pc.survey(model, "digits:0:200", "blocks.*.conv1.act", tmp_path / "s")
    mean = pc.explain(model, "digits:17", 7, contrast=4, means=means, top=5)
    assert mean.baseline == "mean"
    assert mean.measured > max(mean.receipts.randoms.measured)
    exact = pc.explain(model, "digits:17", 7, contrast=4, means=means, top=3, method="activation_patching")
    assert exact.causes[0].predicted == pytest.approx(exact.causes[0].measured, abs=1e-4)


def test_classes_go_by_name_or_number_and_strangers_are_refused(models):
    model = models["digits-vit"]
    assert (model.class_index("7"), model.class_index(3)) == (7, 3)
    with pytest.raises(PatchclampError, match="a number from 0 to 9"):
        model.class_index("seven")
    with pytest.raises(PatchclampError, match="the same pixels"):
        pc.explain(model, "digits:17", 7, counterpart="digits:17")
    with pytest.raises(PatchclampError, match="one image"):
        pc.explain(model, "digits:0:2", 7)


def test_a_survey_of_another_set_of_digits_shows_images_whose_values_hold(models, shared, tmp_path):
    """MNIST's images are larger; the processors bring them to size, and more than chance are read."""
    source = shared / "data" / "images" / "mnist.npz"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    for name, model in models.items():
        pictures = gallery(f"{source}:0:300")
        said = torch.cat([model.run(list(pictures)[k : k + 100]).logits.argmax(-1) for k in range(0, 300, 100)])
        right = float((said == torch.tensor(list(pictures.labels))).float().mean())
        assert right > 0.2, name  # chance is a tenth
    model = models["digits-cnn"]
    found = pc.survey(model, f"{source}:0:300", "blocks.*.conv1.act", tmp_path / "s", batch_size=50)
    draw = np.random.default_rng(0)
    for _ in range(10):
        site = model.site(f"blocks.{draw.integers(3)}.conv1.act")
        unit = int(draw.integers(site.width))
        best = found.exemplars(site.path, unit, kinds=["top"])[0]
        number = int(best.stimulus)
        again = model.run(pictures.read(number), record=site.path, logits=False).recording[site.path]
        assert best.value == pytest.approx(float(again[:, unit].max()), rel=1e-4, abs=1e-6)
        assert int(again[:, unit].argmax()) == best.position or best.value == pytest.approx(
            float(again[best.position, unit]), rel=1e-4, abs=1e-6
        )
