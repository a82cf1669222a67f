"""The engine against plain PyTorch hooks: recordings, every operation, gradients, stops and restarts."""

import numpy as np
import pytest
import torch

from oracles import hooks
from patchclamp.core.basis import Basis
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Source, change
from patchclamp.core.metric import Metric
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel

# Those of three blocks; tests/families goes through all.
FAMILIES = ("gemma2", "gpt2", "gpt_neox", "gptj", "llama")

IDS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
LONGEST = [[2, 7, 18, 28, 1, 8, 2, 8], [45, 9, 0, 45, 23, 5, 36, 6]]
METRIC = Metric("logit_difference", (7,), (11,))
RNG = np.random.default_rng(0)


def by_hand(model, rows, edits=(), padding="right"):
    """Return the real tokens' logits, row after row, under ``(site, see)`` edits written as plain hooks."""
    batch = model.batch([Stimulus.of(np.array(r)) for r in rows], padding)
    where = hooks.places(model.family.name, model.n_layers)
    with torch.no_grad():
        logits = hooks.called(model.module, batch.ids, batch.logical, [(*where[s], see) for s, see in edits])
    return logits[batch.logical >= 0]


def by_rig(model, rows, interventions=(), **options):
    run = model.run(list(rows), interventions=interventions, **options)
    return torch.cat([run.logits[i, : len(s)] for i, s in enumerate(run.stimuli)])


# -- recording --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_untapped_site_equals_a_plain_hook_to_the_bit(models, name, padding):
    model = models[name]
    where = hooks.places(name, model.n_layers)
    assert {s.path for s in model.sites() if not s.tapped} == set(where)
    seen = {}
    batch = model.batch(model.stimuli(list(IDS)), padding)
    see = [(*place, lambda x, site=site: seen.update({site: x.clone()})) for site, place in where.items()]
    with torch.no_grad():
        logits = hooks.called(model.module, batch.ids, batch.logical, see)
    run = model.run(list(IDS), record=list(where), padding=padding)
    for site, values in seen.items():
        assert torch.equal(run.recording[site], values[batch.logical >= 0]), site
        assert torch.equal(run.recording.of(site, 1), values[1, batch.logical[1] >= 0]), site
    for row, s in enumerate(run.stimuli):
        assert torch.equal(run.logits[row, : len(s)], logits[row, batch.logical[row] >= 0])
        assert not run.logits[row, len(s) :].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_without_logits_stops_early_and_records_the_same(models, name):
    model = models[name]
    sites = ["embed", "blocks.0.mlp.act", "blocks.1.attn.write", "blocks.1.attn.pattern"]
    late = []
    handle = model.module.get_submodule(model.family.final).register_forward_hook(lambda *_: late.append(1))
    try:
        short = model.run(list(IDS), record=sites, logits=False)
        assert not late
        whole = model.run(list(IDS), record=sites)
        assert late
    finally:
        handle.remove()
    assert short.logits is None
    for site in sites:
        assert torch.equal(short.recording[site], whole.recording[site]), site


@pytest.mark.parametrize("name", FAMILIES)
def test_chosen_positions_are_rows_of_the_whole_logits(models, name):
    model = models[name]
    whole = model.run(list(IDS)).logits
    some = model.run(list(IDS), logits=(0, -1, 2, -3), padding="left").logits
    assert some.shape[:2] == (2, 4)
    for row, ids in enumerate(IDS):
        for k, place in enumerate((0, len(ids) - 1, 2, len(ids) - 3)):
            assert (some[row, k] - whole[row, place]).abs().max() <= 1e-5
    alone = model.run([LONGEST[0]], logits=(5, 1)).logits
    assert (alone - model.run([LONGEST[0]]).logits[:, [5, 1]]).abs().max() <= 1e-6
    with pytest.raises(PatchclampError, match="the shortest has 4"):
        model.run(list(IDS), logits=(4,))


# -- operations -------------------------------------------------------------------------------------------------------

# Row 1 has four tokens, so -1 is its column 3 and row 0's column 5.
AT, SPOTS = ("1:3", -1), [(0, 1), (0, 2), (0, 5), (1, 1), (1, 2), (1, 3)]


def donor_recording(model):
    return model.run(LONGEST, record=["blocks.1.mlp.act", "blocks.1.attn.z", "blocks.1.resid_mid"]).recording


def neuron_cases(model):
    site, units = "blocks.1.mlp.act", (3, 17, 40)
    donor = donor_recording(model)
    d0, mean = donor.of(site, 0), donor[site].mean(0)
    moved = {1: 4, 2: 0, 3: 7, 5: 6}
    return {
        "set": (change("set", site, units, value=2.5, at=AT), "set", lambda s, u: 2.5),
        "set each": (change("set", site, units, value=[1.0, -2.0, 3.0], at=AT), "set",
                     lambda s, u: [1.0, -2.0, 3.0][units.index(u)]),
        "add": (change("add", site, units, value=-1.5, at=AT), "add", lambda s, u: -1.5),
        "scale": (change("scale", site, units, value=-3.0, at=AT), "scale", lambda s, u: -3.0),
        "zero": (change("ablate", site, units, at=AT), "ablate", None),
        "mean": (change("ablate", site, units, at=AT, mode="mean", source=donor), "ablate", lambda s, u: mean[u]),
        "patch": (change("patch", site, units, at=AT, source=donor), "patch", lambda s, u: d0[s[1], u]),
        "patch moved": (change("patch", site, units, source=Source(donor, stimulus=1, positions=moved)), "patch",
                        lambda s, u: donor.of(site, 1)[moved[s[1]], u]),
    }  # fmt: skip


def all_columns_hit(columns):
    return [(row, c) for row, ids in enumerate(IDS) for c in columns if c < len(ids)]


@pytest.mark.parametrize("case", ["set", "set each", "add", "scale", "zero", "mean", "patch", "patch moved"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_operation_on_neurons_equals_the_same_by_hand(models, name, case):
    model = models[name]
    edit, operation, value = neuron_cases(model)[case]
    spots = all_columns_hit([1, 2, 3, 5]) if case == "patch moved" else SPOTS
    see = ("blocks.1.mlp.act", lambda x: hooks.operated(x, operation, spots, (3, 17, 40), value))
    hand = by_hand(model, IDS, [see])
    assert (hand - by_hand(model, IDS)).abs().max() > 1e-3
    assert torch.equal(by_rig(model, IDS, [edit]), hand)


@pytest.mark.parametrize("case", ["set vector", "set number", "scale", "zero", "mean", "patch"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_operation_on_heads_equals_the_same_by_hand(models, name, case):
    model = models[name]
    site, units, block = "blocks.1.attn.z", (0, 2), 8
    donor = donor_recording(model)
    vectors = RNG.normal(size=(2, block))
    options, operation, value = {
        "set vector": ({"value": vectors}, "set", lambda s, u: vectors[units.index(u)]),
        "set number": ({"value": [1.0, -1.0]}, "set", lambda s, u: [1.0, -1.0][units.index(u)]),
        "scale": ({"value": 0.25}, "scale", lambda s, u: 0.25),
        "zero": ({}, "ablate", None),
        "mean": ({"mode": "mean", "source": donor}, "ablate",
                 lambda s, u: donor[site].mean(0)[u * block : (u + 1) * block]),
        "patch": ({"source": donor}, "patch", lambda s, u: donor.of(site, 0)[s[1], u * block : (u + 1) * block]),
    }[case]  # fmt: skip
    edit = change(operation, site, units, basis="heads", at=AT, **options)
    hand = by_hand(model, IDS, [(site, lambda x: hooks.operated(x, operation, SPOTS, units, value, block))])
    assert (hand - by_hand(model, IDS)).abs().max() > 1e-3
    assert torch.equal(by_rig(model, IDS, [edit]), hand)


@pytest.mark.parametrize("operation", ["set", "add", "scale", "ablate", "patch", "project"])
@pytest.mark.parametrize("biased", [False, True])
def test_an_operation_on_directions_equals_the_same_by_hand(operation, biased):
    model = LanguageModel(family("llama").tiny())
    rng = np.random.default_rng(1)
    decoder = rng.normal(size=(5, 32)).astype(np.float32)
    extra = {"encoder": 0.1 * rng.normal(size=(5, 32)), "encoder_bias": rng.normal(size=5),
             "decoder_bias": rng.normal(size=32)} if biased else {}  # fmt: skip
    extra = {key: array.astype(np.float32) for key, array in extra.items()}
    model.add_basis(Basis("lab", "directions", decoder=decoder, **extra))
    E, b_enc, b_dec = (torch.tensor(extra[k]) if biased else None for k in ("encoder", "encoder_bias", "decoder_bias"))
    donor = donor_recording(model)
    site, units = "blocks.1.resid_mid", (4, 1)

    def encoded(s, u):
        x = donor.of(site, 0)[s[1]]
        if biased:
            return E[u] @ (x - b_dec) + b_enc[u]
        return torch.linalg.pinv(torch.tensor(decoder)).T[u] @ x

    options, value = {
        "set": ({"value": 3.0}, lambda s, u: 3.0),
        "add": ({"value": [0.5, -2.0]}, lambda s, u: {4: 0.5, 1: -2.0}[u]),
        "scale": ({"value": -1.0}, lambda s, u: -1.0),
        "ablate": ({}, None),
        "patch": ({"source": donor}, encoded),
        "project": ({}, None),
    }[operation]
    edit = change(operation, site, units, basis="lab", at=AT, **options)

    def see(x):
        # The residual branch holds the same tensor: write into it.
        x.copy_(hooks.operated_in_basis(x, operation, SPOTS, units, torch.tensor(decoder), value, b_enc, b_dec, E))

    hand = by_hand(model, IDS, [(site, see)])
    assert (hand - by_hand(model, IDS)).abs().max() > 1e-2
    assert (by_rig(model, IDS, [edit]) - hand).abs().max() <= 2e-4
    if operation == "project":
        changed = model.run(list(IDS), record=site, interventions=[edit]).recording.of(site, 0)
        left = changed @ torch.tensor(decoder)[list(units)].T
        assert left[[1, 2, 5]].abs().max() <= 1e-4
        assert left[[0, 3, 4]].abs().max() > 1e-2


def test_a_call_sees_and_returns_the_chosen_vectors(models):
    model = models["gpt2"]
    seen = []

    def flipped(x):
        seen.append(x.clone())
        return x.flip(-1)

    edit = change("call", "blocks.2.mlp.write", at=AT, fn=flipped)

    def see(x):
        y = x.clone()
        for spot in SPOTS:
            y[spot] = x[spot].flip(-1)
        return y

    assert torch.equal(by_rig(model, IDS, [edit]), by_hand(model, IDS, [("blocks.2.mlp.write", see)]))
    assert [tuple(x.shape) for x in seen] == [(6, 32)]


def test_a_resample_takes_the_same_position_of_another_stimulus(models):
    model = models["llama"]
    site = "blocks.1.mlp.act"
    pool = [[3, 14, 15, 9], *([i, i + 1, i + 2, i + 3] for i in range(20, 28))]
    donor = model.run(pool, record=site).recording

    def draws(seed):
        edit = change("ablate", site, mode="resample", source=Source(donor, seed=seed))
        values = model.run([pool[0]], record=site, interventions=[edit]).recording[site]
        found = [i for i in range(len(pool)) if torch.equal(values, donor.of(site, i))]
        assert len(found) == 1
        return found[0]

    drawn = [draws(seed) for seed in range(12)]
    assert drawn == [draws(seed) for seed in range(12)]
    assert 0 not in drawn
    assert len(set(drawn)) > 3
    # A row keeps its draw whatever else is in the batch.
    edit = change("ablate", site, mode="resample", source=Source(donor, seed=3))
    together = model.run([pool[5], pool[0]], record=site, interventions=[edit]).recording
    assert torch.equal(together.of(site, 1), donor.of(site, drawn[3]))
    too_long = change("ablate", site, mode="resample", source=donor)
    with pytest.raises(PatchclampError, match="another stimulus that reaches position 4"):
        model.run([[1, 2, 3, 4, 5]], interventions=[too_long])


def test_a_mean_without_special_tokens_and_a_mean_per_position(models):
    model = models["llama"]
    site = "blocks.0.mlp.act"
    marked = [Stimulus(s.ids, np.array([0, 3, 3, 1]), s.spans) for s in model.stimuli([[0, 5, 6, 60], [0, 7, 8, 60]])]
    donor = model.run(marked, record=site).recording
    edit = change("ablate", site, mode="mean", source=donor)
    values = model.run([[4, 5]], record=site, interventions=[edit]).recording[site]
    wanted = torch.stack([donor.of(site, i)[p] for i in (0, 1) for p in (1, 2)]).mean(0)
    assert torch.allclose(values, wanted.expand(2, -1), atol=1e-6)

    class Table(Recording):
        def mean(self, site):
            return torch.arange(3 * 48.0).reshape(3, 48)

    per_position = change("ablate", site, mode="mean", source=Table(donor.stimuli, donor.values, donor.sites))
    values = model.run([[4, 5, 6]], record=site, interventions=[per_position]).recording[site]
    assert torch.equal(values, torch.arange(3 * 48.0).reshape(3, 48))


def test_changes_at_one_site_apply_in_list_order(models):
    model = models["gpt2"]
    site = "blocks.1.mlp.act"
    first, then = change("set", site, (3, 5), value=2.0, at=1), change("scale", site, 3, value=4.0, at="0:2")
    ordered = model.run([IDS[0]], record=site, interventions=[first, then]).recording[site]
    reverse = model.run([IDS[0]], record=site, interventions=[then, first]).recording[site]
    bare = model.run([IDS[0]], record=site).recording[site]
    assert ordered[1, [3, 5]].tolist() == [8.0, 2.0]
    assert reverse[1, [3, 5]].tolist() == [2.0, 2.0]
    assert torch.equal(ordered[0, 3], 4 * bare[0, 3])
    untouched = torch.ones_like(bare, dtype=torch.bool)
    untouched[1, [3, 5]] = untouched[0, 3] = False
    assert torch.equal(ordered[untouched], bare[untouched])


@pytest.mark.parametrize("name", FAMILIES)
def test_one_list_per_row_equals_separate_runs(models, name):
    model = models[name]
    donor = model.run(LONGEST, record="blocks.1.mlp.act").recording
    lists = [
        [],
        [change("set", "blocks.0.mlp.act", 3, value=4.0, at=2)],
        [change("scale", "blocks.1.attn.z", 1, basis="heads", value=0.0), change("add", "embed", value=0.5, at=0)],
        [change("ablate", "blocks.1.mlp.act", mode="resample", source=donor)],
        [change("add", "blocks.2.attn.k", value=1.0, at="1:3")],
    ]
    together = model.run([IDS[0]], interventions=lists, attention="tap").logits
    for row, edits in enumerate(lists):
        alone = model.run([IDS[0]], interventions=edits, attention="tap").logits[0]
        assert (together[row] - alone).abs().max() <= 1e-5, row
    assert len({tuple(row[-1].tolist()) for row in together}) == len(lists)
    with pytest.raises(PatchclampError, match="one list of interventions per row"):
        model.run(list(IDS), interventions=lists)
    with pytest.raises(PatchclampError, match="a mixture"):
        model.run(list(IDS), interventions=[lists[1][0], lists[2]])


def test_a_change_that_would_do_nothing_is_refused(models):
    model = models["llama"]
    for at in (6, "4:6", -7, "8:", "+0", "3:-4"):
        edit = change("set", "embed", 0, value=1.0, at=at)
        lists = [[], [edit]] if at == "4:6" else [edit]
        with pytest.raises(PatchclampError):
            model.run(list(IDS), interventions=lists)
    model.run(list(IDS), interventions=[change("set", "embed", 0, value=1.0, at=5)])


@pytest.mark.parametrize(
    ("site", "options"),
    [
        ("blocks.0.mlp.act", {"units": 48}),
        ("blocks.0.mlp.act", {"units": -1}),
        ("blocks.0.mlp.act", {"units": 0, "basis": "heads"}),
        ("blocks.0.attn.k", {"units": 2, "basis": "heads"}),
        ("blocks.0.attn.pattern", {"units": 0}),
        ("blocks.0.mlp.act", {"units": 0, "basis": "unheard"}),
        ("blocks.3.mlp.act", {"units": 0}),
        ("blocks.0.attn.z", {"units": 0, "basis": "heads", "value": [1.0, 2.0]}),
    ],
)
def test_what_does_not_fit_the_site_is_refused(models, site, options):
    with pytest.raises(PatchclampError):
        models["llama"].run([IDS[0]], interventions=[change("set", site, **{"value": 1.0, **options})])


def test_a_site_that_can_only_be_read_says_so(models):
    from dataclasses import replace

    model = LanguageModel(family("gpt2").tiny())
    site, place = model._places["embed"]
    model._places["embed"] = (replace(site, writable=False), place)
    with pytest.raises(CannotIntervene, match="can only be read"):
        model.run([IDS[0]], interventions=[change("set", "embed", 0, value=1.0)])


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_gradients_equal_a_plain_autograd_hook(models, name, padding):
    model = models[name]
    where = hooks.places(name, model.n_layers)
    batch = model.batch(model.stimuli(list(IDS)), padding)
    last = [int((row >= 0).nonzero().max()) for row in batch.logical]

    def measure(logits):
        return torch.stack([logits[i, c, 7] - logits[i, c, 11] for i, c in enumerate(last)])

    hand = hooks.gradients(model.module, batch.ids, batch.logical, list(where.values()), measure)
    rig = model.differentiate(list(IDS), METRIC, list(where), padding=padding)
    inside = batch.logical >= 0
    for site, place in where.items():
        values, gradient = hand[place]
        assert torch.allclose(rig.values[site], values[inside], atol=1e-5), site
        assert torch.allclose(rig.gradients[site], gradient[inside], atol=1e-5, rtol=1e-4), site
        assert rig.gradients[site].abs().max() > 1e-3, site


@pytest.fixture
def double(monkeypatch):
    """Let models compute in float64 throughout: their norms, softmaxes and rotations name float32 themselves."""
    # Imported for the first time below, it would lay out its table of types without float32, for all tests to come.
    import safetensors.torch  # noqa: F401

    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_finite_differences_in_float64(name, double):
    model = LanguageModel(family(name).tiny().double())
    sites = [s.path for s in model.sites() if s.layer in (None, 1)]
    edits = [change("scale", "blocks.0.mlp.write", value=1.3, at="1:"), change("set", "embed", 5, value=0.7, at=2)]
    found = model.differentiate([IDS[0]], METRIC, sites, interventions=edits)
    assert found.metric.dtype == torch.float64
    step, rng = 1e-4, np.random.default_rng(0)
    for path in sites:
        site = model.site(path)
        position = 2 if path != "final" else 5
        gradient = found.gradients[path][position].flatten()
        # A late site is blind to an early position's later columns: take one that matters.
        unit = int(rng.choice(np.flatnonzero(gradient.abs().numpy() > 1e-3)))
        delta = torch.zeros(len(gradient), dtype=torch.float64)
        delta[unit] = step
        basis = "neurons" if site.width else "heads"
        cells = [
            [*edits, change("call", path, basis=basis, at=position, fn=lambda x, d=sign * delta: x + d)]
            for sign in (1, -1)
        ]
        up, down = model.measure([IDS[0]], METRIC, interventions=cells, attention="tap").tolist()
        assert abs((up - down) / (2 * step) - float(gradient[unit])) <= 1e-6 * (1 + abs(float(gradient[unit]))), path


def test_gradients_flow_through_interventions(models):
    model = models["llama"]
    edit = change("scale", "blocks.1.mlp.write", value=-2.0)
    site = "blocks.1.mlp.act"
    plain = model.differentiate([IDS[0]], METRIC, [site, "blocks.1.mlp.write"], interventions=[edit])
    down = model.module.model.layers[1].mlp.down_proj.weight.detach()
    # d m / d act = Wᵀ · (scale · d m / d write), the write being what the change left.
    chained = -2.0 * plain.gradients["blocks.1.mlp.write"] @ down
    assert torch.allclose(plain.gradients[site], chained, atol=1e-5)
    blocked = model.differentiate([IDS[0]], METRIC, site, interventions=[change("ablate", "blocks.1.mlp.write")])
    assert not blocked.gradients[site].any()
    assert blocked.values[site].any()


def test_each_row_has_the_gradient_of_its_own_metric(models):
    model = models["gpt2"]
    together = model.differentiate(list(IDS), METRIC, "blocks.0.mlp.act")
    for row, ids in enumerate(IDS):
        alone = model.differentiate([ids], METRIC, "blocks.0.mlp.act")
        assert torch.allclose(together.metric[row], alone.metric[0], atol=1e-5)
        mine = together.gradients.of("blocks.0.mlp.act", row)
        assert torch.allclose(mine, alone.gradients["blocks.0.mlp.act"], atol=1e-5)


# -- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_a_restarted_sweep_equals_one_run_per_cell_to_the_bit(models, name):
    model = models[name]
    kinds = ["resid_in", "attn.z", "attn.write", "mlp.pre", "mlp.act", "resid_out"]
    kinds += [] if model.family.parallel else ["resid_mid"]
    cells = [
        [change("set", f"blocks.{i}.{kind}", (1, 4), value=3.0, at=at)]
        for i in range(3)
        for kind in kinds
        for at in (1, -1)
    ]
    cells += [
        [change("set", "embed", 0, value=2.0)],
        [change("scale", "final", value=2.0)],
        [change("add", "blocks.2.mlp.act", 3, value=2.0), change("add", "blocks.1.mlp.act", 3, value=2.0)],
        [],
    ]
    starts = []
    handle = model.module.get_submodule(model.family.blocks)[0].register_forward_pre_hook(lambda *_: starts.append(1))
    try:
        swept = model.sweep([IDS[0]], METRIC, cells, batch_size=1)
    finally:
        handle.remove()
    alone = torch.cat([model.measure([IDS[0]], METRIC, interventions=cell) for cell in cells])
    assert torch.equal(swept, alone)
    assert len(set(alone.tolist())) > len(cells) // 2
    batched = model.sweep([IDS[0]], METRIC, cells, batch_size=7)
    assert (batched - alone).abs().max() <= 2e-5


def test_a_sweep_skips_the_blocks_before_the_change(models):
    model = models["llama"]
    cells = [[change("ablate", "blocks.2.mlp.act", u)] for u in range(4)]
    model.sweep([IDS[0]], METRIC, cells)  # the first of all also finds out how wide its sites are
    ran = []
    handles = [
        block.mlp.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(model.engine.blocks)
    ]
    try:
        model.sweep([IDS[0]], METRIC, cells)
    finally:
        for handle in handles:
            handle.remove()
    # One clean pass as far as block 2's input, then block 2 alone.
    assert ran == [0, 1, 2]


@pytest.mark.parametrize("site", ["embed", "blocks.1.mlp.act", "module.model.layers.2.mlp.out"])
def test_a_site_that_a_restart_skips_is_refused(models, site):
    model = models["llama"]
    residual = model.run([IDS[0]], record="blocks.2.resid_in").recording["blocks.2.resid_in"]
    restart = Restart(2, residual[None])
    for options in ({"record": site}, {"interventions": [change("ablate", site)]}):
        with pytest.raises(PatchclampError, match="which it skips"):
            model.run([IDS[0]], restart=restart, **options)
    late = ["blocks.2.mlp.act", "final"]
    restarted, whole = (model.run([IDS[0]], record=late, restart=r) for r in (restart, None))
    assert all(torch.equal(restarted.recording[s], whole.recording[s]) for s in late)
    assert torch.equal(restarted.logits, whole.logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sweep_over_attention_sites_equals_tapped_runs(models, name):
    model = models[name]
    cells = [
        [change("scale", f"blocks.{i}.attn.{kind}", 0, basis="heads", value=0.0, at=at)]
        for i in (0, 2)
        for kind in ("q", "k", "v", "pattern")
        for at in (3, -1)
    ]
    alone = torch.cat([model.measure([IDS[0]], METRIC, interventions=c, attention="tap") for c in cells])
    assert (model.sweep([IDS[0]], METRIC, cells) - alone).abs().max() <= 2e-5
    assert (alone - model.measure([IDS[0]], METRIC)).abs().max() > 1e-3
