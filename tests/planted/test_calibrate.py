"""Every method of attribution on every planted circuit: it finds what its card says, and misses what its card says."""

import numpy as np
import pytest

from patchclamp import organisms
from patchclamp.calibrate import calibrate_circuits, summary
from patchclamp.core.errors import PatchclampError

NAMES = {
    "exact": "exact replacement one at a time",
    "ig": "integrated gradients",
    "atp": "attribution patching",
    "relp": "RelP",
    "direct": "direct logit attribution",
    "activation": "activation",
}
QUICK = [method for method in NAMES if method != "exact"]


@pytest.fixture(scope="module")
def table():
    return {(f.organism, f.method): f for f in calibrate_circuits(methods=QUICK)}


@pytest.mark.parametrize("name", organisms.planted.names())
@pytest.mark.parametrize("method", QUICK)
def test_a_method_misses_what_the_card_says_and_nothing_else(table, name, method):
    missed = table[name, method].found < table[name, method].true
    assert missed == (NAMES[method] in organisms.card(name)["must_miss"])


def test_no_card_names_a_method_that_is_not_measured():
    known = {*NAMES.values(), "write norm times activation", "probing"}
    assert all(set(organisms.card(name)["must_miss"]) <= known for name in organisms.planted.names())


@pytest.mark.parametrize("name", ["cat", "mover-llama", "backup-gpt2"])
def test_exact_replacement_finds_all_but_the_pair(name):
    [exact, chance, truth] = calibrate_circuits([name], methods=["exact"])
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
    found = summary(list(table.values()))
    mean, interval = found["direct"]
    by_circuit: dict[str, list[float]] = {}
    for f in table.values():
        if f.method == "direct":
            by_circuit.setdefault(f.organism.removesuffix("-gpt2").removesuffix("-llama"), []).append(f.found / f.true)
    assert len(by_circuit) == 10
    assert mean == pytest.approx(np.mean([np.mean(x) for x in by_circuit.values()]))
    assert interval.low < mean < interval.high
    assert found["ig"][0] == found["oracle"][0] == 1.0


@pytest.mark.parametrize(("names", "methods"), [(["unicorn"], ["atp"]), (["cat"], ["saliency"])])
def test_unknown_names_are_refused(names, methods):
    with pytest.raises(PatchclampError):
        calibrate_circuits(names, methods=methods)
