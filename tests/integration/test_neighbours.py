"""Neighbours in blocks of any size, interrupted or not, against all pairs compared at once."""

import numpy as np
import pytest
import torch

from oracles import neighbours as oracle
from patchclamp.atlas.bake import neighbours
from patchclamp.atlas.bake.neighbours import Population, choose_method, find_neighbours
from patchclamp.core.bundle import Bundle

WIDTHS, D_MODEL, N_SAMPLE = (70, 41, 1, 88), 24, 40
N = sum(WIDTHS)


@pytest.fixture(scope="module")
def vectors():
    """What units write, read and do; some write nothing, some are the same."""
    draw = np.random.default_rng(0)
    write, read = draw.normal(size=(N, D_MODEL)), draw.normal(size=(N, D_MODEL))
    sample = draw.normal(size=(N, 6)) @ draw.normal(size=(6, N_SAMPLE)) + 0.3 * draw.normal(size=(N, N_SAMPLE))
    write[5], sample[7] = 0, 0.5
    write[[100, 150]] = write[20]
    layer = np.repeat(np.arange(len(WIDTHS)) // 2, WIDTHS)
    single = [x.astype(np.float32) for x in (write, read, sample)]
    return *(x.astype(np.float64) for x in single), layer


def population(vectors, number):
    write, read, sample, layer = vectors
    first = sum(WIDTHS[:number])

    def rows(x):
        own = torch.from_numpy(x[first : first + WIDTHS[number]]).float()
        return lambda units: own[units]

    return Population(
        f"site{number}", int(layer[first]), first, WIDTHS[number], rows(write), rows(read),
        lambda units: neighbours._standardise(rows(sample)(units).numpy()),
    )  # fmt: skip


def search(vectors, out, method="exact", **how):
    own = [population(vectors, number) for number in range(len(WIDTHS))]
    return find_neighbours(own, out, {"plan": {}}, method=method, **how)


def listed(found):
    """By panel and unit: ids and weights, without the free places."""
    rows = {}
    for first, panels in found.panels():
        for panel, (ids, weights) in panels.items():
            for unit, (i, w) in enumerate(zip(ids, weights, strict=True), first):
                rows[panel, unit] = i[i >= 0].tolist(), w[i >= 0]
    return rows


@pytest.mark.parametrize("block", [17, 64, 1000])
def test_blocks_of_any_size_give_what_all_pairs_at_once_give(vectors, tmp_path, monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    found = listed(search(vectors, tmp_path / "n"))
    write, read, sample, layer = vectors
    truth = {
        "similar": oracle.similar(write),
        "together": oracle.together(sample),
        "driven_by": oracle.driven_by(read, write, layer),
    }
    assert len(found) == 3 * N
    for (panel, unit), (ids, weights) in found.items():
        assert ids == truth[panel][unit][0], (panel, unit)
        np.testing.assert_allclose(weights, truth[panel][unit][1], rtol=1e-6, atol=1e-7)
    assert found["similar", 20][0][:2] == [100, 150]
    assert found["similar", 5][0] == found["together", 7][0] == found["driven_by", 3][0] == []


def test_the_size_of_blocks_changes_no_bit(vectors, tmp_path, monkeypatch):
    each = []
    for block in (45, 500):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        each.append(listed(search(vectors, tmp_path / str(block))))
    assert all(each[0][key][1].tobytes() == each[1][key][1].tobytes() for key in each[0])


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_a_search_that_was_killed_goes_on_without_its_finished_blocks(vectors, tmp_path, monkeypatch, method):
    monkeypatch.setattr(neighbours, "BLOCK", 45)
    whole = search(vectors, tmp_path / "whole", method)
    measured = []
    real = neighbours._Search._near

    def near(self, bundle, block, tell):
        if len(measured) == 3 and not (tmp_path / "resumed").exists():
            raise KeyboardInterrupt
        measured.append(block)
        return real(self, bundle, block, tell)

    monkeypatch.setattr(neighbours._Search, "_near", near)
    with pytest.raises(KeyboardInterrupt):
        search(vectors, tmp_path / "cut", method)
    (tmp_path / "resumed").mkdir()
    steps = []
    search(vectors, tmp_path / "cut", method, resume=True, progress=lambda done, total: steps.append((done, total)))
    assert sorted(measured) == measured == list(range(len(whole.search.blocks)))
    assert [e["sha256"] for e in Bundle.open(tmp_path / "cut").pieces] == [e["sha256"] for e in whole.bundle.pieces]
    assert steps == sorted(steps)
    assert steps[-1] == (N, N)


def test_approximate_neighbours_say_how_many_of_the_nearest_they_are(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, "LEAST_SHORT", 3)
    monkeypatch.setattr(neighbours, "CANDIDATES", 12)
    found = search(vectors, tmp_path / "n", "approximate")
    exact, rows = listed(search(vectors, tmp_path / "e")), listed(found)
    recall = found.about()["recall"]
    for panel, (share, low, high, n) in recall.items():
        pairs = [(set(exact[key][0]), set(rows[key][0])) for key in exact if key[0] == panel]
        assert n == sum(len(true) for true, _ in pairs)  # fewer units than would be probed: all of them
        assert share == pytest.approx(sum(len(true & mine) for true, mine in pairs) / n)
        assert low <= share <= high
    assert 0.2 < recall["similar"][0] < 1
    # What is there is measured exactly, and no unit has fewer than an exact search gives.
    for key, (ids, weights) in rows.items():
        known = dict(zip(exact[key][0], exact[key][1], strict=True))
        assert all(weight == known.get(i, weight) for i, weight in zip(ids, weights, strict=True))
        assert list(weights) == sorted(weights, reverse=True)


def test_others_may_be_neighbours_without_having_any(vectors, tmp_path):
    own, beside = [population(vectors, 3)], [population(vectors, number) for number in range(3)]
    found = listed(find_neighbours(own, tmp_path / "n", {"plan": {}}, method="exact", beside=beside))
    whole = listed(search(vectors, tmp_path / "w"))
    first = N - WIDTHS[3]
    assert {unit for _, unit in found} == set(range(first, N))
    for unit in range(first, N):
        assert found["similar", unit][0] == whole["similar", unit][0]
        assert found["driven_by", unit][0] == whole["driven_by", unit][0]


def test_more_units_than_a_bound_are_not_compared_in_all_pairs():
    assert [choose_method(None, n) for n in (1, neighbours.EXACT_UNITS, neighbours.EXACT_UNITS + 1)] == [
        "exact", "exact", "approximate",
    ]  # fmt: skip
    assert choose_method("exact", 10**6) == "exact"
