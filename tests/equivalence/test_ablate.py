"""Sets that are replaced together against plain hooks, one set and one forward at a time (tests/oracles/ablate.py)."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from oracles import ablate as oracle
from oracles import hooks
from patchclamp.ablate import Baseline, Cases, EdgeSets, First, RegionSets, UnitSets, count_rows, measure_sets
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Picture, Stimulus
from patchclamp.subjects.contract.kinds.pictures import tiny
from patchclamp.subjects.families.spec import family
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.plain import make_plain_network
from patchclamp.subjects.vision_sites import vision_family

PROMPTS = ([3, 14, 15, 9], [35, 8, 9, 7, 2], [5, 6, 7, 8])
OTHERS = ([4, 14, 16, 9], [35, 1, 9, 6, 2], [5, 60, 7, 9])
METRICS = (Metric("logit_difference", (7,), (11,)), Metric("logit", (3,)), Metric("log_probability", (9,)))
ACT, Z, WRITE = "blocks.1.mlp.act", "blocks.1.attn.z", "blocks.0.mlp.write"
SETS = (
    (),
    (f"{ACT}/neurons/7",),
    (f"{ACT}/neurons/7@1", f"{ACT}/neurons/7@3", f"{ACT}/neurons/2@0"),
    (f"{Z}/heads/1", f"{Z}/heads/0@2", f"{WRITE}/whole/0@1"),
    ("embed/whole/0", f"{ACT}/neurons/0", f"{Z}/heads/3@3"),
)
DIRECTLY = ("embed/whole/0", "final/whole/0")
EVERY = list(dict.fromkeys(key for one in SETS for key in one))


@pytest.fixture(scope="module")
def text():
    torch.manual_seed(0)
    model = LanguageModel(family("gpt2").tiny())
    cases = Cases(tuple(Stimulus.of(np.array(ids)) for ids in PROMPTS), METRICS)
    return model, cases, tuple(Stimulus.of(np.array(ids)) for ids in OTHERS)


def by_hand(model, key):
    """Return a key as the oracle writes it: site, columns and position."""
    unit = pc.UnitKey.parse(key)
    site = model.site(unit.site)
    block = {"heads": site.width // max(site.n_heads, 1), "whole": site.width}.get(unit.basis, 1)
    return unit.site, range(unit.index * block, (unit.index + 1) * block), unit.position


def expected(model, cases, others, kind, keys):
    """Return m of every case with some keys replaced."""
    where = hooks.places("gpt2", model.n_layers)
    place = {site: (*where[site], lambda x: x[0]) for site in where}
    found = []
    for x, metric, other in zip(cases.shown, cases.metrics, others, strict=True):
        sites = list(dict.fromkeys(pc.UnitKey.parse(key).site for key in EVERY))
        if kind == "corrupted":
            r = model.run([other], record=sites).recording.values
        elif kind == "mean":
            alike = [one for one in others if len(one) == len(x)]
            runs = [model.run([one], record=sites).recording for one in alike]
            r = {site: torch.stack([run[site] for run in runs]).mean(0) for site in sites}
        else:
            r = {site: torch.zeros(len(x), model.site(site).width) for site in sites}
        ids = (torch.from_numpy(np.array(x.ids))[None],)
        units = [by_hand(model, key) for key in keys]

        def read(output, metric=metric):
            return metric(output.logits[:, [-1]])[0]

        found.append(oracle.with_units(model.module, ids, place, units, r, read))
    return found


def baseline_of(kind, others):
    return Baseline("zero") if kind == "zero" else Baseline(kind, shown=others)


@pytest.mark.parametrize("kind", ["zero", "corrupted", "mean"])
def test_units_at_positions_and_everywhere_equal_plain_hooks(text, kind):
    model, cases, others = text
    found = measure_sets(model, cases, UnitSets.of(SETS), baseline_of(kind, others))
    for s, keys in enumerate(SETS):
        assert found[:, s] == pytest.approx(expected(model, cases, others, kind, keys), abs=1e-5)
    assert np.ptp(found, axis=1).min() > 0.01


@pytest.mark.parametrize("kind", ["zero", "corrupted"])
def test_keeping_a_set_is_replacing_all_others(text, kind):
    model, cases, others = text
    units = UnitSets([key for key in EVERY if "@" not in key], [np.array([1]), np.array([], dtype=np.int64)])
    kept = measure_sets(model, cases, units, baseline_of(kind, others), keep=True)
    rest = [key for i, key in enumerate(units.keys) if i != 1]
    assert kept[:, 0] == pytest.approx(expected(model, cases, others, kind, rest), abs=1e-5)
    assert kept[:, 1] == pytest.approx(expected(model, cases, others, kind, units.keys), abs=1e-5)


def test_an_empty_set_leaves_m_to_the_bit_and_all_nodes_make_it_that_of_the_counterpart(text):
    model, cases, others = text
    nodes = [
        f"{site}/{basis}/{unit}"
        for site, basis in model.of_level("node").items()
        for unit in range(model.site(site).n_heads if basis == "heads" else 1)
    ]
    sets = UnitSets(nodes, [np.zeros(len(nodes), dtype=bool), np.ones(len(nodes), dtype=bool)])
    baseline = Baseline("corrupted", shown=others)
    none, every = measure_sets(model, cases, sets, baseline, batch_size=1).T
    for i, metric in enumerate(METRICS):
        assert none[i] == float(model.measure([cases.shown[i]], metric)[0])
        assert every[i] == pytest.approx(float(model.measure([others[i]], metric)[0]), abs=1e-4)
        assert abs(every[i] - none[i]) > 1e-3


def test_marks_places_ranks_and_indices_say_the_same_sets(text):
    model, cases, others = text
    cases, baseline = Cases(cases.shown[:1], cases.metrics[:1]), Baseline("corrupted", shown=others[:1])
    index = UnitIndex([Block(ACT, "neurons", model.site(ACT).width, 4), Block(Z, "heads", 4, 4)], model.name)
    ranks = np.random.default_rng(0).permutation(len(index))
    marks = np.stack([ranks < size for size in (0, 3, 40)])
    listed = [np.flatnonzero(row) for row in marks]
    first = [First(ranks, size) for size in (0, 3, 40)]
    one = measure_sets(model, cases, UnitSets(index, marks), baseline)
    for keys, rows in (
        (index, listed),
        (index, first),
        (list(index), marks),
        ([index.key(i) for i in range(len(index))], listed),
    ):
        assert np.array_equal(measure_sets(model, cases, UnitSets(keys, rows), baseline), one)
    rest = UnitSets(index, [First(ranks, size, rest=True) for size in (0, 3, 40)])
    keep = measure_sets(model, cases, UnitSets(index, listed), baseline, keep=True)
    np.testing.assert_allclose(measure_sets(model, cases, rest, baseline), keep, atol=1e-6)
    assert np.ptp(one) > 1e-3


def test_some_sets_of_some_cases_are_measured_alone(text):
    model, cases, others = text
    sets, baseline = UnitSets.of(SETS), Baseline("corrupted", shown=others)
    only = np.random.default_rng(1).random((len(cases), len(SETS))) < 0.5
    some, every = (measure_sets(model, cases, sets, baseline, only=marks) for marks in (only, None))
    np.testing.assert_allclose(some[only], every[only], atol=1e-5)
    assert np.isnan(some[~only]).all()
    assert only.any()
    assert not only.all()


def test_passes_are_counted_taken_in_turns_and_told(text, monkeypatch):
    model, cases, others = text
    rows, turns, told, bare = [], [], [], model.run

    def run(shown, **options):
        rows.append(len(model.stimuli(shown)))
        assert turns[-1] == "in"
        return bare(shown, **options)

    @contextmanager
    def turn():
        turns.append("in")
        yield
        turns.append("out")

    monkeypatch.setattr(model, "run", run)
    sets = UnitSets.of(SETS)
    measure_sets(
        model, cases, sets, Baseline("corrupted", shown=others), batch_size=4, turn=turn,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert sum(rows) == count_rows(len(cases), len(SETS)) == 3 * 7
    assert max(rows) <= 4
    assert told[-1] == (15, 15)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert turns.count("in") > len(told)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_units_of_images_equal_plain_hooks(name):
    model = tiny(vision_family(name))
    draw = np.random.default_rng(0)
    image, other = (model.stimuli(draw.normal(size=model.prepare.shape).astype(np.float32)) for _ in range(2))
    if name == "vit":
        sets = ([f"{ACT}/neurons/5", f"{Z}/heads/2@4"], [f"{ACT}/neurons/5@0", f"{ACT}/neurons/6@9"])
        place = {ACT: ("vit.layers.1.mlp.activation_fn", "out"), Z: ("vit.layers.1.attention.o_proj", "in")}
        place = {site: (*where, lambda x: x[0]) for site, where in place.items()}
    else:
        conv = "blocks.0.conv1.act"
        sets = ([f"{conv}/channels/3"], [f"{conv}/channels/3@5", f"{conv}/channels/0@15"])
        path = "resnet.encoder.stages.0.layers.0.layer.0.activation"
        place = {conv: (path, "out", lambda x: x[0].flatten(1).T)}
    if name == "vit" and ACT in place:
        names = dict(model.module.named_modules())
        known = [path for path in names if path.startswith("vit.layers.1.mlp") and "act" in path]
        place[ACT] = (known[0], "out", lambda x: x[0])
    r = model.run(other, record=list(place)).recording.values
    metric = Metric("logit_difference", (1,), (0,))
    found = measure_sets(model, Cases.of(image, metric), UnitSets.of(sets), Baseline("corrupted", shown=tuple(other)))
    pixels = torch.from_numpy(np.asarray(model.prepare(image[0])))[None].to(model.dtype)
    for s, keys in enumerate(sets):
        value = oracle.with_units(
            model.module, (pixels,), place, [by_hand(model, key) for key in keys], r,
            lambda output: output.logits[0, 1] - output.logits[0, 0],
        )  # fmt: skip
        assert found[0, s] == pytest.approx(value, rel=1e-5, abs=1e-5)
        assert abs(found[0, s] - float(model.measure(image, metric)[0])) > 1e-6


def test_units_of_a_plain_net_equal_plain_hooks():
    torch.manual_seed(2)
    net = pc.wrap(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.zeros(1, 4))
    x, other = torch.randn(1, 4), torch.randn(1, 4)
    model = make_plain_network(net, x)
    [row], [counterpart] = model.stimuli(x), model.stimuli(other)
    sets, metric = [[f"module.1.out/neurons/{u}" for u in one] for one in ((), (1, 4), range(8))], Metric("logit", (2,))
    r = {"module.1.out": net.module[1](net.module[0](other)).detach()}
    for baseline, values in (
        (Baseline("corrupted", shown=(counterpart,)), r),
        (Baseline("zero"), {"module.1.out": torch.zeros(1, 8)}),
    ):
        found = measure_sets(model, Cases.of([row], metric), UnitSets.of(sets), baseline)
        for s, keys in enumerate(sets):
            value = oracle.with_units(
                net.module, (x,), {"module.1.out": ("1", "out", lambda y: y)},
                [("module.1.out", [int(key.rpartition("/")[2])], None) for key in keys], values, lambda y: y[0, 2],
            )  # fmt: skip
            assert found[0, s] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_regions_equal_pixels_filled_one_by_one(fill):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3)).eval()
    model = pc.wrap(module, torch.zeros(1, 2, 8, 8), prepare="scale")
    images = np.random.default_rng(0).random((2, 2, 8, 8)).astype(np.float32)
    pictures, metric = model.stimuli(list(images)), Metric("logit", (1,))
    rows = np.random.default_rng(1).random((5, 9)) < 0.4
    rows[0] = False
    sets = RegionSets(3, rows)
    cases = Cases.of(pictures, metric)
    found, kept = (measure_sets(model, cases, sets, fill, keep=keep, batch_size=3) for keep in (False, True))
    [bare] = measure_sets(model, Cases.of(pictures[:1], metric), RegionSets(3, rows[:1]), fill)
    assert bare.tolist() == model.measure(pictures[:1], metric).tolist()
    for i, picture in enumerate(pictures):
        pixels = np.asarray(picture.pixels)
        value = pixels.mean((1, 2)) if fill == "mean" else np.zeros(2)

        def read(image):
            return module(torch.from_numpy(model.prepare(Picture.of(image)))[None])[0, 1]

        for s, row in enumerate(rows):
            gone = set(np.flatnonzero(row).tolist())
            one = oracle.with_regions(lambda image: image, pixels, 3, gone, value, read)
            rest = oracle.with_regions(lambda image: image, pixels, 3, set(range(9)) - gone, value, read)
            assert (found[i, s], kept[i, s]) == pytest.approx((one, rest), abs=1e-5)


@pytest.mark.parametrize(
    "asked",
    [
        lambda m, c, o: (UnitSets.of([["blocks.1.mlp.act/neurons/99999"]]), Baseline("zero")),
        lambda m, c, o: (UnitSets.of([["blocks.9.mlp.act/neurons/0"]]), Baseline("zero")),
        lambda m, c, o: (UnitSets.of([["blocks.1.mlp.act/neurons/0@4"]]), Baseline("zero")),
        lambda m, c, o: (UnitSets.of([["other/embed/whole/0"]]), Baseline("zero")),
        lambda m, c, o: (UnitSets.of([["embed/whole/0"]]), Baseline("mean", shown=o[:1])),
        lambda m, c, o: (UnitSets.of([["embed/whole/0"]]), "zero"),
        lambda m, c, o: (UnitSets(UnitIndex([Block("embed", "whole", 2)]), [np.array([0])]), Baseline("zero")),
        lambda m, c, o: (EdgeSets([DIRECTLY], np.ones((1, 1), bool)), Baseline("zero")),
        lambda m, c, o: (EdgeSets([DIRECTLY[::-1]], np.ones((1, 1), bool)), Baseline("corrupted", shown=o)),
        lambda m, c, o: (EdgeSets([DIRECTLY], np.ones((1, 2), bool)), Baseline("corrupted", shown=o)),
        lambda m, c, o: (RegionSets(2, np.ones((1, 4), bool)), "zero"),
        lambda m, c, o: (RegionSets(2, np.ones((1, 4), bool)), Baseline("zero")),
    ],
)  # fmt: skip
def test_what_cannot_be_replaced_is_refused_in_three_parts(text, asked):
    model, cases, others = text
    with pytest.raises(PatchclampError) as refused:
        measure_sets(model, cases, *asked(model, cases, others))
    assert all((refused.value.expected, refused.value.got, refused.value.remedy))


@pytest.mark.parametrize("row", [[-1], [2], [0.9], [[0]], ["a"], [True], [True, False, True]])
def test_places_that_are_no_keys_are_refused(row):
    """A place of −1 would be the last key, a fraction the one before it."""
    with pytest.raises(PatchclampError, match=r"places from 0 to 1, or of 2 marks|a list of a numpy array of shape"):
        UnitSets([f"{ACT}/neurons/7", f"{ACT}/neurons/8"], [np.array(row)])
