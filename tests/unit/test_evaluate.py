"""What is said of a basis is what slow arithmetic says, and a perfect basis changes nothing."""

import numpy as np
import pytest
import torch

from oracles import evaluate as oracle
from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.matching import compare_bases, match, recovery
from patchclamp.core.stimulus import Role, Stimulus
from patchclamp.evaluate import auroc_margin, find_concept_units, measure_dictionary, substitute_reconstruction

RNG = np.random.default_rng(0)
SITE = "blocks.1.mlp.write"


def text(n=12, seed=1):
    """Stimuli that begin with a special token, of unequal length."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        ids = np.r_[0, rng.integers(2, 50, size=rng.integers(4, 9))]
        roles = np.r_[int(Role.BOS), np.full(len(ids) - 1, int(Role.TEXT))]
        found.append(Stimulus(ids, roles, np.full((len(ids), 2), -1)))
    return found


@pytest.fixture(scope="session")
def model(models):
    return models["gpt2"]


def coder(model, n=40, k=3, **more):
    width = model.site(SITE).width
    arrays = RNG.normal(size=(2, n, width)).astype(np.float32) * 0.2
    return Basis("lab", "directions", arrays[0], arrays[1], activation="topk", k=k, **more)


def dictionary(model, basis, **subject):
    return Dictionary({SITE: basis}, {"slug": model.name, "hash": model.hash, **subject}, "topk")


def logits(model, interventions):
    return model.run(text(), interventions=interventions).logits


@pytest.mark.parametrize("reads", [None, "blocks.1.resid_mid"])
def test_with_the_error_the_network_says_what_it_said(model, reads):
    basis = coder(model, reads=reads)
    bare = logits(model, [])
    assert (logits(model, substitute_reconstruction(SITE, basis, error=True)) - bare).abs().max() < 1e-5
    assert (logits(model, substitute_reconstruction(SITE, basis)) - bare).abs().max() > 1e-2


def test_a_transcoder_sees_what_it_reads_and_nothing_else(model):
    """Written by hand in plain PyTorch: the MLP's module replaced by the transcoder."""
    basis = coder(model, reads="blocks.1.resid_mid")
    block = model.module.transformer.h[1]
    read = []
    from patchclamp.subjects.bases import decode, encode

    def put(_module, _args, output):
        flat = read[0].flatten(0, 1)
        return decode(basis, encode(basis, flat), flat).view_as(output)

    hooks = [
        block.ln_2.register_forward_pre_hook(lambda _m, args: read.append(args[0])),
        block.mlp.register_forward_hook(put),
    ]
    try:
        with torch.no_grad():
            expected = model.run(text(), logits=True).logits
    finally:
        for hook in hooks:
            hook.remove()
    # Padded columns are compared where they hold tokens.
    found = logits(model, substitute_reconstruction(SITE, basis))
    for row, stimulus in zip(range(len(expected)), text(), strict=True):
        n = len(stimulus)
        torch.testing.assert_close(found[row, :n], expected[row, :n], atol=1e-5, rtol=1e-5)


def test_figures_are_those_of_slow_arithmetic(model):
    basis, shown = coder(model), text()
    report = measure_dictionary(model, dictionary(model, basis), shown, batch_size=4)
    row = report.rows[0]
    wanted = oracle.judged(model, SITE, basis, shown)
    for name in ("unexplained", "active", "loss", "recovered", "recovered_zero"):
        score = getattr(row, name)
        assert score.value == pytest.approx(wanted[name], abs=2e-5, nan_ok=True), name
        # Of six stimuli some draws lose nothing at the mean, and then the share is undefined.
        assert not score.low > score.value
        assert not score.high < score.value
    assert row.dead == pytest.approx(wanted["dead"])
    assert report.loss.value == pytest.approx(wanted["clean"], abs=2e-5)
    assert [r.name for r in report.rows] == ["lab", "neurons", "pca", "random"]
    assert report.tokens == sum(int(s.counted.sum()) for s in shown[1::2])
    # As text, for a NaN is not equal to itself.
    assert repr(measure_dictionary(model, dictionary(model, basis), shown, batch_size=4)) == repr(report)
    assert measure_dictionary(model, dictionary(model, basis), shown, batch_size=3).rows[0].loss.value == pytest.approx(
        row.loss.value
    )


def test_a_whole_basis_leaves_nothing_out(model):
    width = model.site(SITE).width
    whole = Basis("lab", "directions", np.linalg.qr(RNG.normal(size=(width, width)))[0].astype(np.float32))
    row = measure_dictionary(model, dictionary(model, whole), text()).rows[0]
    assert row.unexplained.value < 1e-9
    assert row.recovered.value == pytest.approx(1, abs=1e-5)
    assert row.active.value == width


def test_rivals_keep_as_many_numbers_as_the_basis(model):
    rows = {r.name: r for r in measure_dictionary(model, dictionary(model, coder(model, k=3)), text()).rows}
    assert {rows[name].active.value for name in ("neurons", "pca")} == {3.0}
    assert rows["random"].active.value <= 3
    assert rows["pca"].units == 3
    # Three principal components leave the least of all sets of three directions, up to the split of the text.
    assert rows["pca"].unexplained.value < rows["random"].unexplained.value < 1


def test_another_models_dictionary_is_refused_or_told(model):
    basis = coder(model)
    with pytest.raises(PatchclampError, match="one of other"):
        measure_dictionary(model, dictionary(model, basis, slug="other", hash="0" * 64), text())
    report = measure_dictionary(model, dictionary(model, basis, slug="other", hash=""), text())
    assert any("other" in note and "widths" in note for note in report.notes)
    with pytest.raises(PatchclampError, match="width"):
        measure_dictionary(
            model, Dictionary({SITE: Basis("b", "directions", np.eye(3))}, {"slug": "x", "hash": ""}, "x"), text()
        )
    with pytest.raises(PatchclampError, match="stimuli"):
        measure_dictionary(model, dictionary(model, basis), text(2))


def test_the_match_is_the_best_of_all():
    a, b = RNG.normal(size=(4, 6)), RNG.normal(size=(5, 6))
    rows, columns, cosines = match(a, b)
    assert cosines.sum() == pytest.approx(oracle.best_match(a, b))
    assert sorted(rows.tolist()) == list(range(4))
    assert len(set(columns.tolist())) == 4
    with pytest.raises(PatchclampError, match="width"):
        match(a, b[:, :5])


def test_recovery_counts_planted_directions():
    planted = RNG.normal(size=(20, 64))
    found = np.r_[-3 * planted[:15], RNG.normal(size=(30, 64))]
    share, _ = recovery(found, planted)
    assert share == 0.75
    assert recovery(RNG.normal(size=(45, 64)), planted)[0] == 0


def test_a_dictionary_is_like_itself_and_unlike_a_turned_one():
    decoder = RNG.normal(size=(60, 64))
    other = decoder[::-1] + 0.3 * RNG.normal(size=(60, 64))
    told = compare_bases(Basis("a", "directions", decoder), Basis("b", "directions", other))
    assert told.same > 0.9
    assert told.interval.low <= told.cosine <= told.interval.high
    assert max(told.control) < 0.5 < told.cosine
    assert told.control_same == 0
    again = compare_bases(Basis("a", "directions", decoder), Basis("b", "directions", other))
    assert again == told
    with pytest.raises(PatchclampError, match="directions"):
        compare_bases(Basis("neurons", "neurons"), Basis("a", "directions", decoder))


def planted_values(n=400, units=6):
    """Units of noise, of which unit 2 tells the first concept, unit 5 falls where the second is true."""
    rng = np.random.default_rng(3)
    documents = np.repeat(np.arange(n // 4), 4)
    true = rng.random((n, 2)) < 0.3
    values = np.maximum(rng.normal(size=(n, units)), 0)
    values[:, 2] += 1.5 * true[:, 0]
    values[:, 5] += 1.5 * ~true[:, 1]
    return values.astype(np.float32), true, documents


def test_the_best_unit_is_found_and_scored_elsewhere():
    values, true, documents = planted_values()
    blocks = [("s/a", values[:, :3]), ("s/b", values[:, 3:])]
    told = find_concept_units(blocks, true, ["one", "two"], documents, signed=True)
    assert (told["one"].unit, told["one"].sign) == ("s/a/2", 1)
    assert (told["two"].unit, told["two"].sign) == ("s/b/2", -1)
    half = documents % 2 == 1
    assert told["one"].auroc.value == pytest.approx(oracle.area(values[half, 2], true[half, 0]))
    assert told["one"].chosen_at == pytest.approx(oracle.area(values[~half, 2], true[~half, 0]))
    assert told["one"].auroc.low < told["one"].auroc.value < told["one"].auroc.high
    assert (told["one"].auroc.n, told["one"].auroc.unit) == (len(np.unique(documents[half])), "AUROC")
    unsigned = find_concept_units(blocks, true, ["one", "two"], documents)
    assert unsigned["two"].auroc.value < 0.7
    noise = find_concept_units([("n", np.delete(values, [2, 5], 1))], true, ["one", "two"], documents, signed=True)
    difference = auroc_margin(told["one"], noise["one"])
    assert 0 < difference.low < difference.value < difference.high


def test_concepts_that_are_rare_and_values_that_are_none():
    values, true, documents = planted_values()
    rare = np.c_[true, np.arange(len(true)) < 10]
    assert set(find_concept_units([("s", values)], rare, ["one", "two", "rare"], documents)) == {"one", "two"}
    with pytest.raises(PatchclampError, match="NaN"):
        find_concept_units([("s", np.full_like(values, np.nan))], true, ["one", "two"], documents)
    with pytest.raises(PatchclampError, match="row of labels"):
        find_concept_units([("s", values)], true, ["one"], documents)
