"""Attribution at module sites of wrapped plain networks: equal to hooks, gradients and replacements by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.unit import UnitKey

HIDDEN = "module.1.out"


def sequence():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
    return pc.wrap(module, torch.tensor([[1, 2, 3]])), torch.tensor([[4, 2, 1, 3]])


def vector():
    torch.manual_seed(0)
    return pc.wrap(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5)), torch.zeros(1, 4)), torch.randn(1, 4)


def picture():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 5))
    return pc.wrap(module, torch.zeros(1, 1, 8, 8)), torch.randn(1, 1, 8, 8)


def read(output):
    """Return one number per row, of the last position where there are several."""
    last = output[:, -1] if output.ndim == 3 else output
    return (last[:, 2] - last[:, 0]) ** 2


def replaced(net, x, path, change):
    """Return the number under a change of a module's output, by a hook."""

    def hook(_module, _args, output):
        new = output.clone()
        change(new)
        return new

    handle = net.module.get_submodule(path).register_forward_hook(hook)
    try:
        with torch.no_grad():
            return float(read(net.module(x))[0])
    finally:
        handle.remove()


def places(x):
    """Return ``(place, unit)`` values of one row's output."""
    return x[0].flatten(1).T if x.ndim == 4 else x[0] if x.ndim == 3 else x


@pytest.mark.parametrize("make", [sequence, vector, picture])
@pytest.mark.parametrize("corrupted", [False, True])
def test_scores_equal_gradients_and_replacements_by_hand(make, corrupted):
    net, x = make()
    dotted, site = ("1", HIDDEN) if make is not vector else ("0", "module.0.out")
    if make is picture:
        dotted, site = "0", "module.0.out"
    other = None if not corrupted else (x.flip(-1) if make is sequence else torch.randn_like(x))
    options = {"levels": [site], "corrupted": other}
    exact = pc.attribute_nodes(net, x, read, method="activation_patching", **options)
    basis = "channels" if make is picture else "neurons"
    seen = {}
    handle = net.module.get_submodule(dotted).register_forward_hook(lambda _m, _i, out: seen.update(x=out.detach()))
    with torch.no_grad():
        clean = float(read(net.module(x))[0])
        here = seen["x"]
        if other is not None:
            net.module(other)
        there = torch.zeros_like(here) if other is None else seen["x"]
    handle.remove()
    assert exact.metric_clean == pytest.approx(clean, abs=1e-6)
    n_units = places(here).shape[1]
    n_places = 1 if make is picture else len(places(here))
    assert exact.matrix(site, basis).shape == (n_places, n_units)
    for place in range(n_places):
        for unit in range(n_units):

            def change(new, place=place, unit=unit):
                if make is picture:
                    new[:, unit] = there[:, unit]
                elif make is sequence:
                    new[:, place, unit] = there[:, place, unit]
                else:
                    new[:, unit] = there[:, unit]

            expected = clean - replaced(net, x, dotted, change)
            assert exact.matrix(site, basis)[place, unit] == pytest.approx(expected, abs=1e-6)

    ig = pc.attribute_nodes(net, x, read, method="integrated_gradients", steps=40, **options)
    assert ig.provenance.extra["gap"] == pytest.approx(0.0, abs=1e-4)
    total = clean - replaced(net, x, dotted, lambda new: new.copy_(there))
    assert ig.total == pytest.approx(total, abs=1e-4)
    size = pc.attribute_nodes(net, x, read, method="activation", **options).matrix(site, basis)
    if make is picture:
        assert np.allclose(size, places(here).norm(dim=0)[None], atol=1e-6)
    else:
        assert np.allclose(size, places(here).abs(), atol=1e-6)


@pytest.mark.parametrize("make", [sequence, vector, picture])
def test_attribution_patching_is_value_times_gradient(make):
    net, x = make()
    site = HIDDEN if make is sequence else "module.0.out"
    scores = pc.attribute_nodes(net, x, read, method="attribution_patching", levels=[site])
    found = net.differentiate(x, read, site)
    products = places(found.values[site] * found.gradients[site])
    expected = products.sum(0)[None] if make is picture else products
    assert np.allclose(scores.values.reshape(expected.shape), expected, atol=1e-6)
    key = scores.top(1)[0]
    assert isinstance(key, UnitKey)
    assert (key.subject, key.site) == ("sequential", site)


def test_a_metric_is_read_at_its_position_and_a_bases_features_are_nodes():
    net, x = sequence()
    for position in (0, 2, -1):
        metric = pc.Metric("logit_difference", (2,), (0,), (position,))
        scores = pc.attribute_nodes(net, x, metric, method="attribution_patching", levels=[HIDDEN]).matrix(
            HIDDEN, "neurons"
        )
        assert np.flatnonzero(np.abs(scores).sum(1)).tolist() == [position % 4]
    basis = pc.Basis("two", "directions", decoder=np.eye(6, dtype=np.float32)[[1, 4]])
    net.add_basis(basis, HIDDEN)
    plain = pc.attribute_nodes(net, x, read, method="activation_patching", levels=[HIDDEN]).matrix(HIDDEN, "neurons")
    found = pc.attribute_nodes(net, x, read, method="activation_patching", levels=["feature"]).matrix(HIDDEN, "two")
    assert np.allclose(found, plain[:, [1, 4]], atol=1e-5)


def test_sweep_and_measure_equal_one_run_per_change():
    net, x = sequence()
    cells = [[pc.change("ablate", HIDDEN, unit, at=at)] for unit in range(6) for at in range(4)]
    swept = net.sweep(x, read, cells, batch_size=5)
    one_by_one = torch.cat([net.measure(x, read, interventions=cell) for cell in cells])
    assert torch.allclose(swept, one_by_one, atol=1e-6)
    metric = pc.Metric("logit_difference", (2,), (0,), (1,))
    logits = net.run(x).logits
    assert torch.equal(net.measure(x, metric), logits[:, 1, 2] - logits[:, 1, 0])
    assert torch.allclose(net.sweep(x, metric, [[]]), net.measure(x, metric))


def test_several_inputs_stay_together():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x, shift):
            return self.second(self.first(x) + shift)

    torch.manual_seed(0)
    net = pc.wrap(Two(), (torch.zeros(1, 3), torch.zeros(1, 4)))
    x, shift = torch.randn(1, 3), torch.randn(1, 4)
    scores = pc.attribute_nodes(
        net, (x, shift), lambda y: y[:, 1], method="activation_patching", levels=["module.first.out"]
    )
    with torch.no_grad():
        expected = net.module.second.weight[1] * net.module.first(x)[0]
    assert np.allclose(scores.matrix("module.first.out", "neurons")[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("attempt", "match"),
    [
        (lambda net, x: pc.attribute_nodes(net, x, read), "levels that name sites"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=["module.9.out"]), "a site of this subject"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=["neuron"]), "none. Name sites .*module.1.out"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=["unit"]), "Name sites of .*module.1.out"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=[HIDDEN], method="relp"), "a known family"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=[HIDDEN], method="direct_logit"), "a known family"),
        (lambda net, x: pc.attribute_nodes(net, x, read, levels=[HIDDEN], corrupted=x[:, :2]), "of one shape"),
        (lambda net, x: pc.attribute_nodes(net, x.repeat(2, 1), read, levels=[HIDDEN]), "one prompt"),
        (lambda net, x: pc.attribute_nodes(net, x, lambda y: y, levels=[HIDDEN]), "one number per row"),
        (lambda net, x: pc.attribute_nodes(net, x, pc.Metric("logit", (9,)), levels=[HIDDEN]), "tokens 0 to 4"),
        (lambda net, x: net.sweep(x.repeat(2, 1), read, [[]]), "one stimulus"),
        (lambda net, x: pc.explain(net, x, 1, contrast=0), "levels that name sites"),
        (lambda net, x: pc.explain(net, x, "a", levels=[HIDDEN]), "class numbers"),
        (lambda net, x: pc.record(net, "story.txt", HIDDEN, "out"), "a Task, or a list of inputs"),
        (lambda net, x: pc.survey(net, "story.txt", HIDDEN, "out"), "a Task, or a list of inputs"),
        (lambda net, x: pc.verify(net), r"pc\.attribute_nodes\(net, inputs"),
        (lambda net, x: net.read(pc.Task.of("a", "b", contrast="c", counterpart="d")), "tokenizer"),
        (lambda net, x: net.generate(x), r"pc\.attribute_nodes\(net, inputs"),
        (lambda net, x: net.tokenize("a"), r"pc\.attribute_nodes\(net, inputs"),
        (lambda net, x: net.require("generate"), r"pc\.attribute_nodes\(net, inputs"),
    ],
)
def test_what_it_cannot_do_is_refused_with_what_it_can(attempt, match):
    with pytest.raises(PatchclampError, match=match):
        attempt(*sequence())
    assert not hasattr(sequence()[0], "generate")


def test_a_functions_metric_is_for_plain_networks():
    with pytest.raises(PatchclampError, match="a Metric of cat's logits"):
        pc.attribute_nodes(pc.load("organism:cat"), "the old cat", lambda y: y[:, 0])
    assert issubclass(CannotIntervene, PatchclampError)


def test_record_and_survey_take_what_a_subject_is_shown(tmp_path, cat):
    net, x = sequence()
    pc.record(net, x, HIDDEN, tmp_path / "r")
    pc.survey(net, x, HIDDEN, tmp_path / "s")
    assert pc.StoredRecording(tmp_path / "r").n_stimuli == len(x)
    (tmp_path / "t.txt").write_text("the old cat sat on the mat.\n" * 3)
    kept = pc.survey(cat, pc.Corpus(tmp_path / "t.txt", window=8), "blocks.0.mlp.act", tmp_path / "c")
    assert kept.statistics("blocks.0.mlp.act")["mean"].shape == (16,)
    brain = pc.NeuralRecording(np.sin(np.arange(600.0))[None, :, None], rate=10.0)
    assert pc.survey(brain, out=tmp_path / "b", window=64).bundle.whole
    with pytest.raises(PatchclampError, match="a window only of a recorded brain"):
        pc.survey(cat, tmp_path / "t.txt", "blocks.0.mlp.act", tmp_path / "d", window=64)
    with pytest.raises(PatchclampError, match="nothing shown"):
        pc.survey(cat, None, "blocks.0.mlp.act", tmp_path / "d")
    with pytest.raises(PatchclampError, match="a folder to keep"):
        pc.survey(brain)
