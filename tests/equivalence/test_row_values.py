"""Values by row, units that are kept, and conditions, against hooks by hand: on text, images and a plain net."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from oracles import hooks
from patchclamp.core.basis import Basis
from patchclamp.core.condition import When
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention, change
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.contract.kinds.pictures import tiny
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.vision_sites import vision_family

ROWS = ([3, 14, 15, 9, 26, 5], [35, 8, 9, 7])
ACT, Z, MLP = "blocks.1.mlp.act", "blocks.1.attn.z", "blocks.0.mlp.write"
METRIC = Metric("logit_difference", (7,), (11,))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    found = LanguageModel(family("gpt2").tiny())
    return found


@pytest.fixture(scope="module")
def image_model():
    return tiny(vision_family("vit"))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    return pc.wrap(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.zeros(1, 4))


def by_hand(model, rows, *edits, padding="right"):
    """Return logits ``(row, column, token)`` under plain hooks, a ``(site, see)`` each."""
    batch = model.batch([Stimulus.of(np.array(r)) for r in rows], padding)
    where = hooks.places("gpt2", model.n_layers)
    with torch.no_grad():
        logits = hooks.called(model.module, batch.ids, batch.logical, [(*where[site], see) for site, see in edits])
    return torch.cat([logits[i, batch.logical[i] >= 0] for i in range(len(rows))])


def by_rig(model, rows, changes, **options):
    run = model.run(list(rows), interventions=changes, **options)
    return torch.cat([run.logits[i, : len(s)] for i, s in enumerate(run.stimuli)])


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("masked", [False, True])
def test_values_of_every_row_equal_hooks_by_hand_to_the_bit(model, padding, masked):
    width, draw = model.site(ACT).width, torch.Generator().manual_seed(0)
    value = torch.randn(2, 6, 3, generator=draw)
    mask = torch.rand(2, 6, 3, generator=draw) > 0.5 if masked else None
    units = (4, width - 1, 0)

    def see(x):
        y = x.clone()
        for row, ids in enumerate(ROWS):
            first = x.shape[1] - len(ids) if padding == "left" else 0
            for position in range(len(ids)):
                for k, unit in enumerate(units):
                    if mask is None or mask[row, position, k]:
                        y[row, first + position, unit] = value[row, position, k]
        return y

    edit = change("rows", ACT, units, value=value, mask=mask)
    found = by_rig(model, ROWS, [edit], padding=padding)
    assert torch.equal(found, by_hand(model, ROWS, (ACT, see), padding=padding))
    assert not torch.equal(found, by_rig(model, ROWS, [], padding=padding))


def test_whole_vectors_and_heads_are_set_by_row(model):
    n_heads, width = model.site(Z).n_heads, model.site(Z).width
    value = torch.randn(2, 4, width, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(2, 4, n_heads, dtype=torch.bool)
    mask[0, 2, 1] = mask[1, 0, n_heads - 1] = True
    block = width // n_heads

    def heads(x):
        y = x.clone()
        for row, position, head in torch.nonzero(mask).tolist():
            own = slice(head * block, (head + 1) * block)
            y[row, position, own] = value[row, position, own]
        return y

    def whole(x):
        y = x.clone()
        y[:, :4] = value  # positions beyond the last are left alone
        return y

    edit = change("rows", Z, value=value, mask=mask, basis="heads")
    assert torch.equal(by_rig(model, ROWS, [edit]), by_hand(model, ROWS, (Z, heads)))
    assert torch.equal(by_rig(model, ROWS, [change("rows", Z, value=value)]), by_hand(model, ROWS, (Z, whole)))


def test_expanded_views_are_the_rows_they_stand_for(model):
    value = torch.randn(1, 2, 4, model.site(ACT).width, generator=torch.Generator().manual_seed(2))
    mask = torch.rand(3, 1, 4, model.site(ACT).width, generator=torch.Generator().manual_seed(3)) > 0.5
    shown = [list(ROWS[0][:4]), list(ROWS[1])] * 3
    one = by_rig(model, shown, [change("rows", ACT, value=value, mask=mask)])
    flat = change(
        "rows", ACT, value=value.repeat(3, 1, 1, 1).flatten(0, 1), mask=mask.repeat(1, 2, 1, 1).flatten(0, 1)
    )  # fmt: skip
    assert torch.equal(one, by_rig(model, shown, [flat]))


def test_features_are_set_by_row_and_the_rest_of_the_vector_stays(model):
    draw = np.random.default_rng(0)
    basis = Basis("lab", "directions", draw.normal(size=(6, model.site(MLP).width)).astype(np.float32), encoder=None)
    with_basis = LanguageModel(model.module)
    with_basis.add_basis(basis, site=MLP)
    value = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(4))
    mask = torch.rand(2, 6, 2, generator=torch.Generator().manual_seed(5)) > 0.5
    D, E = (torch.as_tensor(np.asarray(x), dtype=torch.float32) for x in (basis.decoder, basis.encoder))

    def see(x):
        y = x.clone()
        for row, ids in enumerate(ROWS):
            for position in range(len(ids)):
                for k, unit in enumerate((5, 2)):
                    if mask[row, position, k]:
                        f = x[row, position] @ E[unit]
                        y[row, position] = y[row, position] + (value[row, position, k] - f) * D[unit]
        return y

    edit = change("rows", MLP, (5, 2), value=value, mask=mask, basis="lab")
    torch.testing.assert_close(by_rig(with_basis, ROWS, [edit]), by_hand(model, ROWS, (MLP, see)), atol=1e-4, rtol=1e-4)


def test_units_that_are_kept_are_all_that_is_not_replaced(model):
    width, clean = model.site(ACT).width, model.run([ROWS[1]], record=ACT).recording
    others = [unit for unit in range(width) if unit not in (3, 5)]
    run = [ROWS[0][:4]]
    for kept, plain in [
        (change("keep", ACT, (5, 3)), change("ablate", ACT, others)),
        (change("keep", ACT, (5, 3), at=2), change("ablate", ACT, others, at=2)),
        (
            change("keep", ACT, (5, 3), mode="mean", source=clean),
            change("ablate", ACT, others, mode="mean", source=clean),
        ),
        (change("keep", ACT, (5, 3), mode="patch", source=clean), change("patch", ACT, others, source=clean)),
    ]:
        assert torch.equal(by_rig(model, run, [kept]), by_rig(model, run, [plain]))
    everything = change("keep", ACT, range(width))
    assert torch.equal(by_rig(model, run, [everything]), by_rig(model, run, []))


@pytest.mark.parametrize("other", [False, True])
def test_a_condition_holds_where_a_score_of_this_run_is_above_it(model, other):
    read = MLP if other else ACT
    x = model.run(list(ROWS), record=read).recording[read]
    direction = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(6))
    threshold = float((x @ direction).median())
    seen = {}

    def look(x):
        seen["x"] = x.clone()

    def see(x):
        y, scores = x.clone(), (seen["x"] if other else x) @ direction
        y[..., 7] = torch.where(scores > threshold, torch.full_like(scores, 5.0), y[..., 7])
        return y

    when = When(direction=direction, above=threshold, site=read if other else None)
    found = by_rig(model, ROWS, [change("set", ACT, 7, value=5.0, when=when)])
    edits = [(read, look), (ACT, see)] if other else [(ACT, see)]
    assert torch.equal(found, by_hand(model, ROWS, *edits))
    always, never = (by_rig(model, ROWS, e) for e in ([change("set", ACT, 7, value=5.0)], []))
    assert not torch.equal(found, always)
    assert not torch.equal(found, never)


def test_a_condition_reads_what_an_earlier_change_left(model):
    cut = change("set", ACT, 3, value=2.0, at=1)
    then = change("add", ACT, 8, value=1.5, when=When(3, above=1.999))
    plain = change("add", ACT, 8, value=1.5, at=1)
    assert torch.equal(by_rig(model, ROWS, [cut, then]), by_rig(model, ROWS, [cut, plain]))
    below = change("add", ACT, 8, value=1.5, when=When(3, below=1.999), at=1)
    assert torch.equal(by_rig(model, ROWS, [cut, below]), by_rig(model, ROWS, [cut]))


def test_a_sweep_measures_each_as_a_run_of_its_own(model):
    ids = [list(ROWS[0])]
    value = torch.randn(6, 2, generator=torch.Generator().manual_seed(7))
    cells = [
        [change("rows", ACT, (1, 2), value=value)], [change("keep", ACT, (1, 2))],
        [change("set", ACT, 7, value=3.0, when=When(direction=torch.ones(32), above=0.0, site=MLP))], [],
    ]  # fmt: skip
    swept = model.sweep(ids, METRIC, cells, batch_size=1)
    for cell, measured in zip(cells, swept, strict=True):
        assert torch.equal(model.measure(ids, METRIC, interventions=cell)[0], measured)
    torch.testing.assert_close(model.sweep(ids, METRIC, cells), swept, atol=1e-5, rtol=1e-5)


def test_generated_text_follows_them_with_the_cache_as_without(model):
    value = torch.full((2, 7, 2), 4.0)
    probe = torch.randn(32, generator=torch.Generator().manual_seed(8))
    changes = [
        change("rows", ACT, (1, 2), value=value),
        change("add", "blocks.1.resid_mid", value=6 * torch.ones(32), when=When(direction=probe, above=0.0, site=MLP)),
    ]
    found = model.generate(list(ROWS), interventions=changes, max_new_tokens=5)
    for row, one in enumerate(found):
        ids = list(ROWS[row])
        for _ in range(5):
            own = [replace(changes[0], value=value[row, : min(7, len(ids))]), changes[1]]
            ids.append(int(model.run([ids], interventions=own).logits[0, -1].argmax()))
        assert one.ids.tolist() == ids[len(ROWS[row]) :]
    assert [one.ids.tolist() for one in model.generate(list(ROWS), max_new_tokens=5)] != [o.ids.tolist() for o in found]


def test_images_and_plain_nets_take_them_at_their_places(image_model, net):
    draw = np.random.default_rng(0)
    images = draw.normal(size=(2, *image_model.prepare.shape)).astype(np.float32)
    site = image_model.site(ACT)
    value = torch.randn(2, site.n_places, 2, generator=torch.Generator().manual_seed(9))
    by_cell = [
        [
            change("set", ACT, unit, value=float(value[row, place, k]), at=place)
            for place in range(site.n_places)
            for k, unit in ((0, 3), (1, 5))
        ]
        for row in range(2)
    ]
    whole = image_model.run(images, interventions=[change("rows", ACT, (3, 5), value=value)]).logits
    assert torch.equal(whole, image_model.run(images, interventions=by_cell).logits)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    rows = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        hidden = net.module[1](net.module[0](x))
        hidden[:, [6, 1]] = rows[:, 0]
        expected = net.module[2](hidden)
    assert torch.equal(net.run(x, interventions=[change("rows", "module.1.out", (6, 1), value=rows)]).logits, expected)
    with torch.no_grad():
        hidden = net.module[1](net.module[0](x))
        unit = int(hidden.std(0).argmax())
        scores, mean = hidden[:, unit].clone(), float(hidden[:, unit].mean())
        hidden[scores > mean] = hidden[scores > mean] * torch.eye(8)[[0, 4]].sum(0)
        expected = net.module[2](hidden)
    kept = change("keep", "module.1.out", (0, 4), when=When(unit, above=mean))
    assert torch.equal(net.run(x, interventions=[kept]).logits, expected)


def test_they_survive_json_with_their_arrays_by_hash():
    value, mask = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32), np.ones((1, 3, 4), dtype=bool)
    when = When(direction=np.array([0.5, -1.25], dtype=np.float32), above=0.0, site="embed")
    whole = Intervention("embed", "rows", (1, 2, 5, 7), value=value, mask=mask, when=when)
    data = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    again = Intervention.from_json(data, arrays=whole.arrays())
    assert again.to_json() == whole.to_json()
    np.testing.assert_array_equal(again.value, value)
    np.testing.assert_array_equal(again.mask, mask)
    np.testing.assert_array_equal(again.when.direction, when.direction)
    assert again.sites == ("embed",)
    with pytest.raises(PatchclampError, match="by its hash"):
        Intervention.from_json(data)
    with pytest.raises(PatchclampError, match="by its hash"):
        Intervention.from_json(data, arrays={name: x + 1 for name, x in whole.arrays().items() if x.ndim == 3})
    kept = change("keep", "embed", (1,))
    assert Intervention.from_json(kept.to_json()).to_json() == kept.to_json()


@pytest.mark.parametrize(
    "options",
    [
        {"value": 3.0},  # one number is no row
        {"value": np.zeros((2, 6, 3))},  # three columns for two units
        {"value": np.zeros((3, 6, 2))},  # three rows for two
        {"value": np.zeros((2, 7, 2))},  # seven positions for six
        {"value": np.zeros((2, 6, 2)), "mask": np.ones((2, 6, 1), dtype=bool)},
        {"value": np.zeros((2, 6, 2)), "mask": np.ones((2, 6, 2))},
        {"value": np.zeros((2, 6, 2)), "mask": np.ones((3, 6, 2), dtype=bool)},
        {"value": np.zeros((2, 3, 2)), "at": 4},
        {"value": np.full((2, 6, 2), "a")},
    ],
)
def test_values_that_fit_no_row_are_refused_in_three_parts(model, options):
    with pytest.raises(PatchclampError) as refused:
        model.run(list(ROWS), interventions=[change("rows", ACT, (1, 2), **options)])
    assert refused.value.expected
    assert refused.value.remedy


@pytest.mark.parametrize(
    "refused",
    [
        lambda m: change("keep", ACT),
        lambda m: change("ablate", ACT, 1, mode="patch", source=m.run([ROWS[0]], record=ACT).recording),
        lambda m: change("set", ACT, 1, value=1.0, mask=np.ones((1, 1), dtype=bool)),
        lambda m: change("set", ACT, 1, value=1.0, when=When(direction=np.ones(3), above=0.0)),
        lambda m: change("set", ACT, 1, value=1.0, when=When(1, above=0.0, site="blocks.1.resid_out")),
        lambda m: change("set", ACT, 1, value=1.0, when=When(1, above=0.0, site=Z, basis="heads")),
        lambda m: change("set", ACT, 1, value=1.0, when=When(4096, above=0.0)),
        lambda m: change("set", ACT, 1, value=1.0, when=When(1, above=0.0, site="nowhere")),
        lambda m: When(1),
        lambda m: When(above=1.0),
        lambda m: When(1, above=float("nan")),
    ],
)
def test_what_makes_no_sense_is_refused_in_three_parts(model, refused):
    with pytest.raises(PatchclampError) as problem:
        model.run(list(ROWS), interventions=[refused(model)])
    assert all((problem.value.expected, problem.value.got, problem.value.remedy))


def test_a_map_has_no_rows_of_vectors():
    torch.manual_seed(0)
    conv = pc.wrap(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2)).eval(), torch.zeros(1, 1, 6, 6))
    with pytest.raises(CannotIntervene, match="set rows"):
        conv.run(torch.zeros(1, 1, 6, 6), interventions=[change("rows", "module.0.out", value=np.zeros((1, 1, 2)))])
