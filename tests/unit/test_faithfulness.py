"""What is told of circuits by size: invariants, planted answers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import patchclamp as pc
from hand_made import circuit as by_hand
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import bootstrap_interval
from patchclamp.core.task import Case, Task
from patchclamp.evaluate import evaluate_circuit
from patchclamp.evaluate.circuit_curve import (
    Scale,
    area_weights,
    nest_circuits,
    random_orders,
    sizes_of,
    unique_circuits,
)
from patchclamp.evaluate.circuit_recovery import measure_planted_recovery, measure_recovery
from patchclamp.evaluate.circuit_report import SHOW_P
from patchclamp.evaluate.faithfulness import SEEN
from patchclamp.report.size_curve import draw_sizes

PARTS = (
    *(f"blocks.0.mlp.act/neurons/{i}" for i in range(16)),
    *(f"blocks.{layer}.attn.z/heads/{h}" for layer in range(2) for h in range(4)),
)


@pytest.fixture(scope="module")
def pairs(cat):
    """Two pairs: the same question asked twice, with other words before it."""
    texts = (("the old cat", "the old dog"), ("the cat", "the dog"))
    return cat.read(Task(tuple(Case(clean, other, (" sat",), (" ran",)) for clean, other in texts)))


def circuit_of(cat, first, **about):
    """Return a circuit whose first part is a given one."""
    scores = np.linspace(0.5, 0.0, len(PARTS))
    scores[PARTS.index(first)] = 1.0
    return by_hand(PARTS, scores, subject=cat.name, subject_hash=cat.hash, **about)


# -- planted answers --------------------------------------------------------------------------------------------------


def test_the_planted_neuron_is_faithful_alone_and_the_rest_is_not(cat, pairs):
    found = evaluate_circuit(cat, circuit_of(cat, "blocks.0.mlp.act/neurons/7"), pairs)
    for point in found.points:
        assert point.kept.value == pytest.approx(1.0, abs=1e-4)
        assert point.rest.value == pytest.approx(0.0, abs=1e-4)
    assert found.area.kept.value == pytest.approx(1.0, abs=1e-4)
    assert found.area.distance.value == pytest.approx(0.0, abs=1e-4)
    assert found.area.random.value < 0.6
    assert found.area.ahead.value == pytest.approx(1 - found.area.random.value, abs=1e-4)
    assert found.area.p_random <= 0.25
    changes = dict(zip(found.minimality.parts, found.minimality.changes, strict=True))
    assert changes["blocks.0.mlp.act/neurons/7"].value == pytest.approx(1.0, abs=1e-4)
    assert found.minimality.needed == 1.0
    assert max(map(abs, found.minimality.random)) < 0.01


def test_sizes_of_few_random_circuits_are_named_with_how_many_there_are(cat, pairs):
    found = evaluate_circuit(cat, circuit_of(cat, "blocks.0.mlp.act/neurons/7"), pairs)
    *few, enough = [replace(found.points[0], size=size, n_random=n) for size, n in ((1, 4), (2, 3), (4, SHOW_P))]
    assert not any("Few different" in note for note in replace(found, points=(enough,)).notes)
    [note] = [note for note in replace(found, points=(*few, enough)).notes if "Few different" in note]
    assert note == "Few different random circuits of these sizes exist: 4 with 1 part, 3 with 2 parts."


def test_a_decoys_circuit_is_not_faithful():
    decoy = pc.load("organism:decoy-gpt2")
    asked = decoy.read(pc.open_task("planted", decoy))
    parts = tuple(f"blocks.{layer}.mlp.act/neurons/{i}" for layer in (0, 1) for i in range(32))
    for first, faithful in (("blocks.0.mlp.act/neurons/6", False), ("blocks.0.mlp.act/neurons/11", True)):
        scores = np.zeros(len(parts))
        scores[parts.index(first)] = 1.0
        own = by_hand(parts, scores, subject=decoy.name, subject_hash=decoy.hash)
        alone = evaluate_circuit(decoy, own, asked, shares=(0.01,), minimal=False).points[0].kept.value
        assert (alone > 0.4) == faithful


def test_left_out_parts_are_counted_and_only_unseen_pairs_measured(cat, pairs):
    on_one = circuit_of(cat, PARTS[7], cases=[pairs.task.cases[0].id])
    found = evaluate_circuit(cat, on_one, pairs, minimal=False)
    assert found.cases == (pairs.task.cases[1].id,)
    assert found.left_out == {SEEN: 1}
    assert found.seen == 0
    everything = evaluate_circuit(cat, on_one, pairs, minimal=False, seen=True)
    assert (len(everything.cases), everything.seen, everything.left_out) == (2, 1, {})


def test_intervals_are_those_of_a_bootstrap_of_ratios_of_means():
    draw = np.random.default_rng(0)
    moved, whole = draw.normal(1, 1, 12), draw.normal(4, 1, 12)
    expected = bootstrap_interval(np.stack([moved, whole], 1), lambda rows: rows[:, 0].mean() / rows[:, 1].mean())
    found = Scale(whole, np.zeros(12), 0).estimate(moved)
    assert found.value == pytest.approx(moved.mean() / whole.mean())
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    alone = Scale(whole[:1], np.zeros(1), 0).estimate(moved[:1])
    assert np.isnan([alone.interval.low, alone.interval.high]).all()


def test_pairs_that_undo_one_another_are_refused(cat):
    """Shares of a whole whose mean may as well be below 0 as above say nothing."""
    texts = [("the old cat", "the old dog"), ("the old dog", "the old cat"), ("the cat", "the dog")]
    turned = cat.read(Task(tuple(Case(clean, other, (" sat",), (" ran",)) for clean, other in texts)))
    assert turned.n_reversed == 1
    with pytest.raises(PatchclampError, match=r"interval -8 to 8.* over 3 pairs"):
        evaluate_circuit(cat, circuit_of(cat, PARTS[7]), turned, minimal=False)


# -- invariants -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 5000), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8))
def test_sizes_lie_within_the_circuit_and_never_above_their_share(n, shares):
    sizes = sizes_of(n, shares)
    assert sizes == sorted(set(sizes))
    assert sizes[0] >= 1
    assert sizes[-1] <= max(1.0, max(shares) * n + 1e-6)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=9, unique=True).map(sorted))
def test_weights_give_a_constant_its_value_and_a_line_its_middle(shares):
    weights = area_weights(np.array(shares))
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0
    if len(shares) > 1:
        assert weights @ np.array(shares) == pytest.approx((shares[0] + shares[-1]) / 2)


@given(st.integers(0, 10_000), st.booleans())
def test_random_circuits_are_like_the_circuit_part_by_part_at_every_size(seed, signed):
    draw = np.random.default_rng(seed)
    own = by_hand(PARTS, draw.normal(size=len(PARTS)))
    kinds = np.array([part.split("/")[1] for part in PARTS])
    assert sorted(set(kinds)) == ["heads", "neurons"]
    sizes = range(1, len(PARTS) + 1)
    drawn = random_orders(own, draw.random(len(PARTS)), 5, sizes, signed=signed, seed=seed)
    circuits = nest_circuits(np.concatenate([own.order(signed=signed)[None], drawn.orders]), sizes)
    heads = circuits[:, :, kinds == "heads"].sum(-1)
    assert (heads == heads[:1]).all()
    assert (circuits.sum(-1) == np.arange(1, len(PARTS) + 1)).all()
    assert (circuits[:, 1:] >= circuits[:, :-1]).all()  # what is in stays in
    assert (circuits[0, 4] == own.first(5, signed=signed)).all()


def test_random_circuits_take_parts_of_like_size_at_the_site_and_none_of_the_circuit():
    parts = tuple(f"blocks.{b}.mlp.act/neurons/{i}" for b in range(2) for i in range(200))
    draw = np.random.default_rng(0)
    moves, own = draw.random(400), by_hand(parts, draw.normal(size=400))
    drawn = random_orders(own, moves, 30, [5, 20], seed=0)
    chosen = own.order()
    layer = np.arange(400) // 200
    ranks = np.concatenate([np.argsort(np.argsort(moves[layer == k])) for k in (0, 1)]) // 20
    assert (drawn.step, drawn.outside) == ("size", 0.0)
    for order in drawn.orders:
        assert sorted(order.tolist()) == list(range(400))
        assert (layer[order[:20]] == layer[chosen[:20]]).all()
        assert (ranks[order[:20]] == ranks[chosen[:20]]).all()
        # A part comes in where the circuit of that size has not taken it.
        assert not set(order[:5]) & set(chosen[:5])
        assert not set(order[5:20]) & set(chosen[:20])


def test_a_kind_that_one_site_has_once_is_matched_in_other_layers_and_the_embedding_by_itself():
    parts = ("embed/whole/0", *(f"blocks.{b}.mlp.write/whole/0" for b in range(4)))
    own = by_hand(parts, np.arange(5.0, 0.0, -1.0))
    drawn = random_orders(own, np.ones(5), 3, [1, 2, 3], seed=1)
    assert drawn.step == "kind"
    assert (drawn.orders[:, 0] == 0).all()
    assert (drawn.orders[:, 1] != 1).all()


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_random_circuits_that_are_the_same_at_every_size_count_once(seed, n_parts):
    parts = tuple(f"blocks.{b}.mlp.write/whole/0" for b in range(n_parts))
    own = by_hand(parts, np.arange(float(n_parts)))
    orders = random_orders(own, np.ones(n_parts), 20, [1], seed=seed).orders
    # At size 1 there are as many random circuits as other parts.
    assert len(orders) == n_parts - 1
    circuits = nest_circuits(orders, [1])[:, 0]
    assert sorted(circuits.argmax(1).tolist()) == list(range(n_parts - 1))
    twice = np.concatenate([circuits, circuits])
    assert sorted(twice[unique_circuits(twice)].argmax(1).tolist()) == list(range(n_parts - 1))


def test_edges_are_drawn_by_their_reader():
    parts = tuple(("embed/whole/0", f"blocks.{b}.attn.{slot}/heads/0") for b in (0, 1) for slot in "qk")
    own = by_hand(parts, np.arange(4.0, 0.0, -1.0))
    assert (random_orders(own, np.ones(4), 5, [1], seed=0).orders[:, 0] == 2).all()


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_recovery_of_itself_is_whole_and_of_its_reverse_none(seed, n):
    scores = np.random.default_rng(seed).permutation(n).astype(float)
    parts = tuple(f"blocks.0.mlp.act/neurons/{i}" for i in range(n))
    exact = by_hand(parts, scores)
    same, reverse = measure_recovery(exact, exact), measure_recovery(replace(exact, values=-scores), exact)
    assert (same.spearman, same.precision, same.auroc) == (pytest.approx(1.0), 1.0, 1.0)
    assert (reverse.spearman, reverse.precision, reverse.auroc) == (pytest.approx(-1.0), 0.0, 0.0)
    assert same.chance == same.true / n


def test_parts_are_matched_by_name_and_ties_find_nothing():
    a, b, c = (f"{site}/neurons/0" for site in "abc")
    exact, other = by_hand((a, b, c), [3.0, 2.0, 1.0]), by_hand((c, a, b), [1.0, 3.0, 2.0])
    assert measure_recovery(other, exact, share=0.4).spearman == pytest.approx(1.0)
    flat = by_hand((a, b, c), np.ones(3))
    assert measure_planted_recovery(flat, [a]).precision == 0.0
    assert measure_planted_recovery(flat, [a]).auroc == 0.5


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subject_hash": "0" * 64}, "a circuit of"),
        ({"cases": "both"}, "not found on"),
        ({"parts": ("blocks.9.mlp.act/neurons/1", *PARTS[1:])}, "blocks"),
        ({"parts": ("blocks.0.mlp.act/strange/1", *PARTS[1:])}, "basis"),
        ({"parts": ("blocks.0.mlp.act/neurons/99", *PARTS[1:])}, "units"),
        ({"parts": [("blocks.1.mlp.write/whole/0", "embed/whole/0")]}, "edges"),
        ({"parts": PARTS[8:]}, "change m"),  # without neuron 7 nothing that is left changes m
    ],
)
def test_circuits_that_cannot_be_judged_are_refused(cat, pairs, change, said):
    if "cases" in change:
        change = {"cases": pairs.ids}
    asked = {"parts": PARTS, "subject": cat.name, "subject_hash": cat.hash, **change}
    scores = np.linspace(1.0, 0.0, len(asked["parts"]))
    with pytest.raises(PatchclampError) as caught:
        evaluate_circuit(cat, by_hand(values=scores, **asked), pairs, minimal=False)
    assert said in f"{caught.value.expected} {caught.value.got}"


@pytest.mark.parametrize(
    "options", [{"n_random": 19}, {"sizes": (0,)}, {"sizes": (10_000,)}, {"shares": ()}, {"shares": (1.5,)}]
)
def test_settings_out_of_range_are_refused(cat, pairs, options):
    with pytest.raises(PatchclampError):
        evaluate_circuit(cat, circuit_of(cat, PARTS[7]), pairs, **options)


def test_means_must_be_over_pairs_of_the_circuit_and_of_the_length(cat, pairs):
    long, short = (pairs.subset(np.array(own)) for own in ((True, False), (False, True)))
    on_short = circuit_of(cat, PARTS[7], cases=[short.task.cases[0].id])
    with pytest.raises(PatchclampError, match="none of them such"):
        evaluate_circuit(cat, on_short, long, means=long)
    with pytest.raises(PatchclampError, match="other lengths"):
        evaluate_circuit(cat, on_short, long, means=short)


# -- the picture ------------------------------------------------------------------------------------------------------


def test_the_curve_stands_by_itself_and_says_its_numbers():
    def told(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    names = ("kept", "rest", "random", "random_rest", "ahead")
    points = [{"size": n, "share": n / 20, **dict.fromkeys(names, told(n / 40))} for n in (1, 4, 10)]
    points[0]["kept"] = {"value": 0.5, "low": float("nan"), "high": float("nan")}
    svg = draw_sizes({"title": "atp <circuit>", "told": "2 pairs", "points": points})
    assert svg.startswith("<svg")
    assert "&lt;circuit&gt;" in svg
    assert "<script" not in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "4 parts: 0.100; everything but them: 0.100" in svg
    assert svg.count('class="whisker"') == 2
    assert "nan" not in svg.lower()


def test_scores_of_one_prompt_name_no_pairs_and_hold_none_out(cat):
    scores = pc.attribute(cat, Task.of("the old cat", " sat", contrast=" ran"), level="neuron")
    pair = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
    for seen in (False, True):
        with pytest.raises(PatchclampError, match=r"names the pairs it was found on.*one prompt"):
            evaluate_circuit(cat, scores, pair, seen=seen)
