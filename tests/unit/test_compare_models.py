"""Two networks over one text: pairs, layers and next tokens as plain NumPy has them, and planted changes found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import patchclamp as pc
from oracles.logit_lens import logit_lens
from oracles.rsa import rsa
from patchclamp.compare.models import N_RANDOM
from patchclamp.compare.unit_pairs import Moments, pair_units
from patchclamp.core.edit import Edit
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.lens_difference import SAME
from patchclamp.core.model_comparison import MOVED, ModelComparison
from patchclamp.organisms.planted.neurons import FIRST_CAPITAL
from patchclamp.subjects.corpora import plan_batches
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel

ACTS = tuple(f"blocks.{i}.mlp.act" for i in range(3))
LAYERS = tuple(f"blocks.{i}.resid_out" for i in range(3))


def tiny(seed: int) -> LanguageModel:
    """A network of random weights; its biases too, so that units differ."""
    module, draw = family("gpt2").tiny(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.2)
    return LanguageModel(module, name=f"tiny-{seed}")


@pytest.fixture(scope="module")
def two() -> tuple[LanguageModel, LanguageModel]:
    return tiny(0), tiny(1)


@pytest.fixture(scope="module")
def batches(two):
    draw = np.random.default_rng(0)
    shown = two[0].stimuli([draw.integers(1, 60, n).tolist() for n in (20, 25, 15, 30)])
    return plan_batches(lambda: shown, "text", 3)


@pytest.fixture(scope="module")
def compared(two, batches) -> ModelComparison:
    return pc.compare_models(*two, batches, n_random=1)


def rows(model, batches, sites):
    """Activations at counted tokens, and logits there, of one pass over everything."""
    shown = [one for batch in batches for one in batch]
    run = model.run(shown, record=list(sites))
    counted = np.concatenate([np.asarray(one.counted) for one in shown])
    values = {site: np.asarray(run.recording[site])[counted].astype(np.float64) for site in sites}
    logits = [np.asarray(run.logits[i, : len(one)])[np.asarray(one.counted)] for i, one in enumerate(shown)]
    return values, np.concatenate(logits).astype(np.float64)


def test_partners_are_those_of_a_plain_correlation(two, batches, compared):
    one, other = (np.concatenate([rows(model, batches, ACTS)[0][site] for site in ACTS], 1) for model in two)
    n = one.shape[1]
    r = np.corrcoef(one.T, other.T)[:n, n:]
    assert compared.n_sampled == compared.n_tokens == len(one)
    for site, block in enumerate(np.split(r, 3, 1)):
        assert compared.partner[:, site].tolist() == block.argmax(1).tolist()
        assert compared.correlation[:, site] == pytest.approx(block.max(1), abs=1e-5)
    for site, block in enumerate(np.split(r, 3, 0)):
        assert compared.back[:, site].tolist() == block.argmax(0).tolist()
    found = {i: (j, mutual) for i, j, _, mutual in compared.pairs(ACTS[0], ACTS[2])}
    width = n // 3
    block = r[:width, 2 * width :]
    wanted = {i: (2 * width + j, block[:, j].argmax() == i) for i, j in enumerate(block.argmax(1).tolist())}
    assert found == wanted
    assert len({mutual for _, mutual in found.values()}) == 2
    first = compared.pairs(top=1)[0]
    assert first[2] == pytest.approx(r.max(), abs=1e-5)
    assert first[:2] == np.unravel_index(r.argmax(), r.shape)


def test_layers_are_as_similar_as_the_oracle_of_rsa_says(two, batches, compared):
    sides = [rows(model, batches, LAYERS)[0] for model in two]
    options = SimpleNamespace(distance="correlation")
    stimuli = [SimpleNamespace(id=str(i)) for i in range(compared.n_conditions)]
    for i, j in ((0, 0), (2, 1)):
        pair = [
            SimpleNamespace(values={site: side[site]}, stimuli=stimuli)
            for side, site in zip(sides, (LAYERS[i], LAYERS[j]), strict=True)
        ]
        assert compared.similarity[i, j] == pytest.approx(rsa(*pair, options), abs=1e-5)
    assert (compared.low <= compared.similarity).all()
    assert (compared.similarity <= compared.high).all()
    assert compared.shuffled.low <= compared.shuffled_mean <= compared.shuffled.high


def test_divergence_and_changes_are_those_of_plain_softmax(two, batches, compared):
    p, q = (np.exp(x - np.logaddexp.reduce(x, 1, keepdims=True)) for x in (rows(m, batches, ())[1] for m in two))
    apart = (p * np.log(p / q)).sum(1)
    assert compared.divergence.value == pytest.approx(apart.mean(), rel=1e-4)
    assert compared.divergence.low < compared.divergence.value < compared.divergence.high
    assert compared.agreement == pytest.approx((p.argmax(1) == q.argmax(1)).mean())
    place, token = np.unravel_index(np.abs(p - q).argmax(), p.shape)
    top = compared.changes[0]
    assert top.id == token
    assert (top.first, top.second) == pytest.approx((p[place, token], q[place, token]), abs=1e-5)
    assert max(max(text.divergence) for text in compared.texts) == pytest.approx(apart.max(), rel=1e-3)


def test_the_difference_of_the_lenses_is_that_of_plain_hidden_states(two, batches, compared):
    shown = [one for batch in batches for one in batch]
    sides = [[logit_lens(model.module, one.ids.tolist()) for one in shown] for model in two]
    counted = [np.flatnonzero(one.counted) for one in shown]
    assert compared.lens.n_tokens == sum(map(len, counted))
    for depth, layer in enumerate(compared.lens.layers):
        apart, same = {}, []
        for k, places in enumerate(counted):
            for at in places.tolist():
                logp, logq = (np.asarray(side[k][depth][at]) for side in sides)
                apart[k, at] = (np.exp(logp) * (logp - logq)).sum()
                same.append(logp.argmax() == logq.argmax())
        assert layer.divergence.value == pytest.approx(np.mean(list(apart.values())), rel=1e-4)
        assert layer.divergence.low < layer.divergence.value < layer.divergence.high
        assert layer.divergence.n == len(shown)
        assert layer.agreement == pytest.approx(np.mean(same))
        k, at = max(apart, key=apart.get)
        top = layer.places[0]
        assert (top.stimulus, top.position) == (k, at)
        assert top.divergence == pytest.approx(apart[k, at], rel=1e-4)
        for said, side in zip((top.first, top.second), sides, strict=True):
            logs = side[k][depth][at]
            assert [word for word, _ in said] == [f"token {i}" for i in logs.topk(3).indices.tolist()]
            assert [p for _, p in said] == pytest.approx(logs.topk(3).values.exp().tolist(), abs=1e-5)
    assert compared.lens.layers[-1].divergence.value == pytest.approx(compared.divergence.value, rel=1e-6)
    assert [layer.sites[0] for layer in compared.lens.layers] == ["blocks.0.resid_in", *LAYERS]


def test_lenses_part_at_the_block_that_was_changed(two, batches):
    other = tiny(0)
    with torch.no_grad():
        other.module.transformer.h[1].mlp.c_fc.bias.add_(0.5)
    other.forget_hash()
    found = pc.compare_models(two[0], other, batches, n_random=0).lens
    assert [layer.divergence.value for layer in found.layers[:2]] == [0, 0]
    assert [layer.places for layer in found.layers[:2]] == [(), ()]
    assert min(layer.divergence.value for layer in found.layers[2:]) > SAME
    assert (found.part, found.layers[2].sites) == (2, (LAYERS[1], LAYERS[1]))
    assert "same up to Block 0 · residual stream after and part at Block 1" in found.sentence


def test_a_post_norm_network_has_no_lens_and_that_is_said(batches):
    bert = LanguageModel(family("bert").tiny(), name="bert")
    found = pc.compare_models(bert, [pc.clamp("blocks.0.mlp.act/neurons/1=9")], batches, n_random=0)
    assert found.lens.layers == ()
    assert any("no logit lens was compared" in caution for caution in found.cautions)


def test_a_network_is_like_itself(two, batches):
    found = pc.compare_models(two[0], two[0], batches)
    assert found.similarity.diagonal().tolist() == [1.0, 1.0, 1.0]
    assert found.shuffled.low < found.shuffled_mean < found.shuffled.high < 0.2
    assert found.threshold < 0.9
    assert found.divergence.value == 0
    assert [layer.divergence.value for layer in found.lens.layers] == [0] * 4
    assert found.lens.part is None
    assert found.random == ()
    assert "say the same" in found.sentence
    assert all(i == j and mutual for i, j, _, mutual in found.pairs())
    assert found.moved[:, MOVED.index("change")].max() == 0


def test_permuted_neurons_are_paired_back(two, batches):
    order = np.random.default_rng(3).permutation(two[0].site(ACTS[1]).width)
    shuffled = tiny(0)
    block = shuffled.module.transformer.h[1].mlp
    with torch.no_grad():
        block.c_fc.weight.copy_(block.c_fc.weight[:, order])
        block.c_fc.bias.copy_(block.c_fc.bias[order])
        block.c_proj.weight.copy_(block.c_proj.weight[order])
    shuffled.forget_hash()
    found = pc.compare_models(two[0], shuffled, batches, n_random=0)
    pairs = found.pairs(ACTS[1], ACTS[1])
    width = len(order)
    assert {j - width: i - width for i, j, *_ in pairs} == dict(enumerate(order.tolist()))
    assert all(mutual and r > 0.999 for *_, r, mutual in pairs)
    assert found.divergence.value < 1e-6


def test_the_change_of_what_units_write_is_that_of_their_writes():
    draw = np.random.default_rng(0)
    one, other = draw.standard_normal((2, 50, 4)) + 3
    writes = draw.standard_normal((2, 4, 6))
    moments = Moments(4)
    for part in (slice(0, 7), slice(7, 7), slice(7, 50)):
        moments.add(one[part], other[part])
    found = dict(zip(MOVED, moments.measure((writes[0], writes[1])).T, strict=True))
    written = [values[:, :, None] * w for values, w in zip((one, other), writes, strict=True)]
    size = [(w**2).sum(2).mean(0) for w in written]
    change = np.sqrt(((written[1] - written[0]) ** 2).sum(2).mean(0))
    assert found["change"] == pytest.approx(change)
    assert found["share"] == pytest.approx(change / np.sqrt(size[0] + size[1]))
    assert found["r"] == pytest.approx([np.corrcoef(one[:, i], other[:, i])[0, 1] for i in range(4)])
    assert found["mean_second"] == pytest.approx(other.mean(0))
    assert found["max_first"] == pytest.approx(one.max(0))
    assert np.isnan(Moments(2).measure(None)[:, 0]).all()


def test_silent_units_have_no_partner():
    values = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    mute = values.copy()
    mute[:, 1] = 0.1
    found = pair_units([values], [mute], np.random.default_rng(0))
    assert found.partner[[0, 2], 0].tolist() == [0, 2]
    assert found.partner[1, 0] != 1
    back = pair_units([mute], [values], np.random.default_rng(0))
    assert back.partner[:, 0].tolist() == [0, -1, 2]
    assert np.isnan(back.correlation[1, 0])
    assert np.isnan(back.chance[1])


@pytest.fixture(scope="module")
def facts():
    return pc.load("organism:facts-gpt2")


@pytest.fixture(scope="module")
def edited(facts) -> Edit:
    """France's neuron writes what Italy's writes: the queen of France lives in Rome."""
    name = "transformer.h.0.mlp.c_proj.weight"
    weights = facts.parameters()[name].numpy()
    delta = np.zeros_like(weights)
    delta[FIRST_CAPITAL] = weights[FIRST_CAPITAL + 1] - weights[FIRST_CAPITAL]
    return Edit({name: delta}, facts.hash, "Paris is in Italy")


@pytest.fixture
def lives(tmp_path):
    path = tmp_path / "t.txt"
    countries = ("France", "Italy", "Japan", "Egypt", "Kenya", "Peru")
    path.write_text("\n\n".join(f"the queen of {one} lives in" for one in countries))
    return path


def test_an_edited_fact_is_the_largest_change_and_its_neuron_the_first_moved(facts, edited, lives):
    found = pc.compare_models(facts, edited, lives)
    assert {change.token for change in found.changes[:2]} == {" Paris", " Rome"}
    assert all(change.context.endswith("the queen of France lives in") for change in found.changes[:1])
    names = [key for key, row in found.moved_units() if row["change"] > 0]
    assert names[0] == f"{ACTS[0]}/neurons/{FIRST_CAPITAL}"
    assert f"{ACTS[0]}/neurons/{FIRST_CAPITAL + 1}" not in names
    place = found.lens.layers[found.lens.part].places[0]
    assert place.context.endswith("the queen of France lives in")
    assert (place.first[0][0], place.second[0][0]) == (" Paris", " Rome")
    assert found.hashes == (edited.before, edited.after)
    assert len(found.random) == N_RANDOM
    assert facts.hash == edited.before


def test_a_saved_edit_is_compared_as_the_edit_is(facts, edited, lives, tmp_path):
    facts.save_edited(edited, tmp_path / "model")
    saved = pc.compare_models(facts, pc.load(tmp_path / "model"), lives)
    known = pc.compare_models(facts, edited, lives)
    assert saved.divergence.value == pytest.approx(known.divergence.value, rel=1e-6)
    assert saved.moved_units(1)[0][0] == known.moved_units(1)[0][0]
    assert saved.random == pytest.approx(known.random, rel=1e-6)


def test_a_steered_network_is_compared_beside_random_units(lives, facts):
    key = f"{ACTS[0]}/neurons/{FIRST_CAPITAL}"
    found = pc.compare_models(facts, [pc.clamp(f"{key}=0")], lives)
    assert found.moved_units(1)[0][0] == key
    assert found.moved_units(1)[0][1]["max_second"] == 0
    assert {found.changes[0].token, found.changes[0].context[-28:]} == {" Paris", "the queen of France lives in"}
    assert found.divergence.value > max(found.random)
    vector = np.zeros(facts.site("blocks.0.resid_out").width, np.float32)
    vector[0] = 1e-3
    added = pc.compare_models(facts, [pc.change("add", "blocks.0.resid_out", value=vector)], lives, n_random=2)
    assert len(added.random) == 2
    without = pc.compare_models(facts, [pc.change("scale", "blocks.0.resid_out", value=2.0)], lives)
    assert without.random == ()
    assert "no random control" in without.cautions[0]


def test_a_comparison_is_kept_whole_and_the_same_twice(two, batches, compared, tmp_path):
    compared.save(tmp_path / "kept")
    again = ModelComparison.load(tmp_path / "kept")
    twice = pc.compare_models(*two, batches, n_random=1)
    for one in (again, twice):
        head, arrays = one.parts()
        assert head == compared.parts()[0]
        assert all(np.array_equal(arrays[name], kept, equal_nan=True) for name, kept in compared.parts()[1].items())
    assert compared.table(1).rows[0][0] == LAYERS[0]
    assert compared.table().total == 3
    assert "tiny-0" in repr(compared)
    [part] = (tmp_path / "kept").glob("*.safetensors")
    part.write_bytes(part.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(Damaged):
        ModelComparison.load(tmp_path / "kept")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partner", [[999]]),
        ("names", ["a"]),
        ("random", ["x"]),
        ("units", [[["a", 2.5]], []]),
        ("texts", [{}]),
        ("lens", {"layers": [{}]}),
    ],
)
def test_parts_of_something_else_are_refused(compared, name, value):
    head, arrays = compared.parts()
    if name in arrays:
        arrays = {**arrays, name: np.full_like(arrays[name], 999)}
    else:
        head = {**head, name: value}
    with pytest.raises((PatchclampError, ValueError, TypeError, KeyError)):
        ModelComparison.of_parts(head, arrays)


def test_other_tokens_and_short_texts_are_refused(facts, lives, tmp_path):
    with pytest.raises(PatchclampError, match="same tokens"):
        pc.compare_models(facts, pc.load("organism:cat"), lives)
    short = tmp_path / "short.txt"
    short.write_text("the")
    with pytest.raises(PatchclampError, match="at least 4"):
        pc.compare_models(facts, facts, short)
