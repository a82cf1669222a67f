"""Every method of attribution on every planted circuit: it finds what its card says, and misses what its card says."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.attribute import attribute_nodes
from patchclamp.calibrate import calibrate, calibrate_circuits, calibrate_edges, calibrate_tasks, summarise
from patchclamp.calibrate.trained import COMPARED
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.method_index import list_names, methods
from patchclamp.core.unit import UnitKey
from patchclamp.organisms import language

NAMES = list_names("attribute", "unit")
QUICK = [method for method in NAMES if method != "activation_patching"]


@pytest.fixture(scope="module")
def table():
    return {(f.organism, f.method): f for f in calibrate_circuits(methods=QUICK)}


CLAIMS = [
    (name, method, claim == "must_miss")
    for name in organisms.planted.names()
    for claim in ("must_find", "must_miss")
    for method in organisms.card(name)[claim]
    if method in QUICK
]
"""What organisms say of methods; a method of which none speaks says on its own card where it can be tried."""


@pytest.mark.parametrize(("name", "method", "must_miss"), CLAIMS)
def test_a_method_misses_what_the_card_says_and_nothing_else(table, name, method, must_miss):
    missed = table[name, method].found < table[name, method].true
    assert missed == must_miss


def test_every_organism_speaks_of_every_method_that_any_organism_speaks_of():
    spoken = {method for _, method, _ in CLAIMS}
    assert len(CLAIMS) == len(spoken) * len(organisms.planted.names())
    assert set(QUICK) - spoken <= {card.name for card in methods("attribute") if card.data["calibrated_on"]}


def test_no_card_names_a_method_that_is_not_measured():
    known = {*NAMES, "write norm times activation", "probing"}
    assert all(set(organisms.card(name)["must_miss"]) <= known for name in organisms.planted.names())


PROGRAMS = [f"{program}-{kind}" for program in ("majority", "seen", "mode") for kind in ("gpt2", "llama")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_step_of_a_program_is_found_by_replacing_it(name):
    [exact, *_] = calibrate_circuits([name], methods=["activation_patching"])
    assert exact.found == exact.true == exact.worst
    [edges, *_] = calibrate_edges([name], methods=["activation_patching"])
    assert edges.found == edges.true == edges.worst


@pytest.mark.parametrize("name", ["majority-gpt2", "majority-llama"])
def test_the_head_before_a_step_is_missed_by_slopes_and_found_along_a_path(name):
    model, card = organisms.build(name), organisms.card(name)
    case = model.read_case(card["prompt"], [card["target"]], [card["contrast"]])
    scores = {method: attribute_nodes(model, case.clean, case.metric, method=method) for method in NAMES}
    head = scores["activation_patching"].index.place(UnitKey.parse(card["true"][0]))
    assert scores["activation_patching"].values[head] == pytest.approx(
        scores["integrated_gradients"].values[head], rel=0.05
    )
    assert scores["activation_patching"].values[head] > 7.9
    for method in ("attribution_patching", "relp"):
        assert abs(scores[method].values[head]) < 0.001
        assert method in card["must_miss"]


@pytest.mark.parametrize("name", ["cat", "mover-llama", "backup-gpt2"])
def test_exact_replacement_finds_all_but_the_pair(name):
    [exact, chance, truth] = calibrate_circuits([name], methods=["activation_patching"])
    assert (exact.found == exact.true) == (name != "backup-gpt2")
    assert chance.found < 0.1 < truth.found == truth.true
    assert exact.pearson == pytest.approx(1.0)


def test_random_and_oracle_rows_are_what_chance_and_truth_give(table):
    f = table["mover-gpt2", "random"]
    draw = np.random.default_rng(0)
    orders = [draw.permutation(f.nodes)[: f.true] for _ in range(4000)]
    assert np.mean([(ranks < f.true).sum() for ranks in orders]) == pytest.approx(f.found, abs=0.01)
    assert np.mean([ranks.max() + 1 for ranks in orders]) == pytest.approx(f.worst, rel=0.01)
    assert table["mover-gpt2", "oracle"].worst == f.true


def test_the_summary_is_the_mean_share(table):
    found = summarise(list(table.values()))
    mean, interval = found["direct_logit"]
    by_circuit: dict[str, list[float]] = {}
    for f in table.values():
        if f.method == "direct_logit":
            by_circuit.setdefault(f.organism.removesuffix("-gpt2").removesuffix("-llama"), []).append(f.found / f.true)
    assert set(by_circuit) == {"cat", *organisms.planted.CIRCUITS}
    assert mean == pytest.approx(np.mean([np.mean(x) for x in by_circuit.values()]))
    assert interval.low < mean < interval.high
    assert found["integrated_gradients"][0] == found["oracle"][0] == 1.0


@pytest.mark.parametrize(("names", "methods"), [(["unicorn"], ["attribution_patching"]), (["cat"], ["saliency"])])
def test_unknown_names_are_refused(names, methods):
    with pytest.raises(PatchclampError):
        calibrate_circuits(names, methods=methods)


# -- trained networks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held():
    return {row.method: row for row in calibrate_tasks(["language-gpt2"], tasks=["agreement"], pairs=2)}


def test_random_scores_predict_nothing_and_methods_do(held):
    assert [*held] == [*COMPARED, "random"]
    assert abs(held["random"].spearman) < 0.3 < held["integrated_gradients"].spearman <= 1
    assert held["random"].receipt < 0.2 < held["integrated_gradients"].receipt
    assert held["integrated_gradients"].ahead == 1.0
    assert all(abs(row.control) < 0.5 for row in held.values())


def test_a_receipt_is_what_replacing_the_highest_nodes_by_hand_takes_away(held):
    model, shares = organisms.build("language-gpt2"), []
    for item in language.tasks("agreement", 2):
        asked = model.read_case(item.clean, [item.answer], [item.wrong], counterpart=item.corrupted)
        clean, corrupted = (model.run([x], record="*") for x in (asked.clean, asked.counterpart))
        top = attribute_nodes(
            model, asked.clean, asked.metric, corrupted=asked.counterpart, method="attribution_patching"
        ).top(20)
        edits = [
            change("set", k.site, k.index, basis=k.basis, at=k.position, value=_at(corrupted.recording, k, model))
            for k in top
        ]
        before, without = (
            asked.metric(run.logits[:, -1:])[0] for run in (clean, model.run([asked.clean], interventions=edits))
        )
        floor = asked.metric(corrupted.logits[:, -1:])[0]
        shares.append(float((before - without) / (before - floor)))
    assert held["attribution_patching"].receipt == pytest.approx(np.mean(shares), abs=1e-4)


def _at(recording, key, model):
    rows = recording.of(key.site, 0)[key.position]
    if key.basis == "neurons":
        return float(rows[key.index])
    return rows.unflatten(0, (model.site(key.site).n_heads, -1))[key.index].double().numpy()


@pytest.mark.parametrize(
    ("names", "options"),
    [(["cat"], {}), (["language-gpt2"], {"tasks": ["juggling"]}), (["language-gpt2"], {"pairs": 0})],
)
def test_what_cannot_be_held_is_refused(names, options):
    with pytest.raises(PatchclampError):
        calibrate_tasks(names, **options)


@pytest.mark.parametrize(
    ("options", "what"), [({"names": []}, "organism"), ({"names": ["language-gpt2"], "tasks": ()}, "task")]
)
def test_an_empty_list_is_not_everything(options, what):
    with pytest.raises(PatchclampError, match=f"at least one {what}; got none"):
        calibrate(**options)
