"""patchclamp.core.stats against the plain loops in tests/oracles/stats.py, and its error messages."""

import inspect
import math
from statistics import NormalDist

import numpy as np
import pytest

from oracles import stats as oracle
from patchclamp.core import stats
from patchclamp.core.errors import PatchclampError

SEEDS = range(6)


def pairs(seed, *, tied):
    """Draw related x and y of a random length, odd seeds inversely; tied ones are small integers that repeat."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 60))
    x = rng.standard_normal(n) * 3
    y = (-1) ** seed * 0.5 * x + rng.standard_normal(n)
    return (np.round(x), np.round(y)) if tied else (x, y)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["pearson", "spearman", "slope"])
def test_paired_statistics_match_the_oracle(name, seed, tied):
    x, y = pairs(seed, tied=tied)
    assert getattr(stats, name)(x, y) == pytest.approx(getattr(oracle, name)(x, y), abs=1e-12)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_rank_matches_the_oracle(seed, tied):
    x, _ = pairs(seed, tied=tied)
    assert stats.rank(x).tolist() == oracle.rank(x)


@pytest.mark.parametrize("as_integers", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_auroc_matches_the_oracle(seed, tied, as_integers):
    scores, y = pairs(seed, tied=tied)
    labels = y > np.median(y)
    given = labels.astype(np.int64) if as_integers else labels
    assert stats.auroc(scores, given) == pytest.approx(oracle.auroc(scores, labels), abs=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_bootstrap_of_the_mean_matches_the_oracle(seed, tied, level):
    values, _ = pairs(seed, tied=tied)
    expected = oracle.bootstrap_ends(
        values.tolist(), lambda v: sum(v) / len(v), 150, level, np.random.default_rng(seed)
    )
    whole = stats.bootstrap_interval(values, n_resamples=150, level=level, seed=seed)
    one_by_one = stats.bootstrap_interval(values, lambda v: v.mean(), n_resamples=150, level=level, seed=seed)
    thin = stats.mean_interval(values, n_resamples=150, level=level, seed=seed)
    for interval in (whole, one_by_one, thin):
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
        assert (interval.level, interval.method) == (level, "percentile bootstrap")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_bootstrap_of_paired_rows_matches_the_oracle(seed, tied):
    rows = np.stack(pairs(seed, tied=tied), axis=1)
    interval = stats.bootstrap_interval(rows, lambda r: stats.pearson(r[:, 0], r[:, 1]), n_resamples=100, seed=seed)
    expected = oracle.bootstrap_ends(
        rows.tolist(),
        lambda r: oracle.pearson([a for a, _ in r], [b for _, b in r]),
        100,
        0.95,
        np.random.default_rng(seed),
    )
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("as_blocks", [7, 64, 10**6])
def test_randomisation_does_not_depend_on_the_block_size(monkeypatch, as_blocks):
    values, _ = pairs(0, tied=False)
    expected = oracle.bootstrap_ends(values.tolist(), np.median, 50, 0.9, np.random.default_rng(3))
    p = stats.sign_flip_p(values, n_permutations=50, seed=3)
    monkeypatch.setattr(stats, "_BLOCK_ELEMENTS", as_blocks)
    interval = stats.bootstrap_interval(values, np.median, n_resamples=50, level=0.9, seed=3)
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
    assert stats.sign_flip_p(values, n_permutations=50, seed=3) == p


def test_bootstrap_interval_covers_a_known_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        interval = stats.mean_interval(rng.standard_normal(40) + 5, n_resamples=400, seed=seed)
        hits += interval.low <= 5 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (180, 400)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_wilson_matches_the_score_test_it_inverts(successes, n, level):
    interval = stats.wilson_interval(successes, n, level=level)
    expected = oracle.wilson_ends(successes, n, NormalDist().inv_cdf((1 + level) / 2))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-9)
    assert (interval.level, interval.method) == (level, "wilson")


def permutation_p(x, y, statistic, n_permutations=2000, seed=0):
    return stats.permutation_p(x, y, statistic=statistic, n_permutations=n_permutations, seed=seed)


def difference_of_sums(x, y):
    """Sum of y where x is 1 minus where it is 0: exact on integers, so its ties are exact."""
    return float(sum(b if a else -b for a, b in zip(x, y, strict=True)))


@pytest.mark.parametrize("seed", SEEDS)
def test_permutation_p_matches_the_oracle(seed):
    rng = np.random.default_rng(seed)
    x = np.arange(14) % 2
    y = rng.integers(-3, 4, size=14).astype(np.float64)
    expected = oracle.permutation_p(x, y, difference_of_sums, 120, np.random.default_rng(seed))
    assert permutation_p(x, y, difference_of_sums, 120, seed) == expected


def test_permutation_p_approaches_the_share_over_all_orderings():
    x, y = np.array([0.0, 1, 2, 3, 4, 5]), np.array([1.0, 0, 2, 2, 5, 3])
    exact = oracle.permutation_share(x, y.tolist(), lambda a, b: round(oracle.spearman(a, b), 9))
    assert permutation_p(x, y, stats.spearman) == pytest.approx(exact, abs=0.02)
    assert permutation_p(x, -y, stats.spearman) == pytest.approx(exact, abs=0.02)


def test_permuted_statistics_that_tie_up_to_rounding_count_as_ties():
    x, y = np.arange(8) % 2, np.array([1.0, 2.0, 3.0, 7.0, 1.0, 2.0, 4.0, 3.0])
    expected = permutation_p(x, y, difference_of_sums, 500)
    assert permutation_p(x, y * 0.1, difference_of_sums, 500) == expected


def test_an_infinite_statistic_is_more_extreme_than_any_finite_one():
    x, y = np.arange(3.0), np.array([0.0, 1.0, 2.0])
    p = permutation_p(x, y, lambda a, b: math.inf if b[0] == 0 else 1.0, 300)
    assert p == pytest.approx(1 / 3, abs=0.1)
    assert permutation_p(x, y, lambda a, b: math.inf if b[0] != 0 else 1.0, 300) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_sign_flip_p_matches_the_oracle(seed):
    differences = np.random.default_rng(seed).integers(-4, 7, size=9).astype(np.float64)
    expected = oracle.sign_flip_p(differences.tolist(), 200, np.random.default_rng(seed))
    assert stats.sign_flip_p(differences, n_permutations=200, seed=seed) == expected
    exact = oracle.sign_flip_share(differences.tolist())
    assert stats.sign_flip_p(differences, n_permutations=4000, seed=seed) == pytest.approx(exact, abs=0.04)


def test_sign_flips_that_tie_up_to_rounding_count_as_ties():
    tenths = np.array([0.0, 0.0, 1.0, 2.0, 7.0, -1.0, -1.0])
    expected = oracle.sign_flip_p(tenths.tolist(), 500, np.random.default_rng(0))
    assert stats.sign_flip_p(tenths / 10, n_permutations=500) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_rank_of_matches_the_oracle(seed):
    controls = np.random.default_rng(seed).integers(-5, 6, size=30).astype(np.float64)
    for value in (-6.0, -5.0, -2.0, 0.0, 0.5, 3.0, 5.0):
        assert stats.rank_of(value, controls) == oracle.rank_of(value, controls.tolist())


@pytest.mark.parametrize("name", ["pearson", "spearman", "slope"])
def test_a_constant_makes_the_statistic_nan_without_a_warning(name):
    statistic = getattr(stats, name)
    assert math.isnan(statistic(np.full(5, 0.1), np.arange(5.0)))
    assert math.isnan(statistic(np.array([2.0]), np.array([3.0])))
    flat = statistic(np.arange(5.0), np.full(5, 0.1))
    assert flat == 0 if name == "slope" else math.isnan(flat)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 3.5e307])
def test_extreme_scales_neither_warn_nor_lose_the_answer(scale):
    x = np.array([0.0, 1.0, 2.0, 5.0])
    y = np.array([1.0, 0.0, 4.0, 3.0])
    assert stats.pearson(x * scale, y * scale) == pytest.approx(oracle.pearson(x, y))
    assert stats.slope(x * scale, y * scale) == pytest.approx(oracle.slope(x, y))
    assert stats.sign_flip_p((x - 1) * scale) == stats.sign_flip_p(x - 1)


def test_values_one_rounding_step_apart_still_correlate():
    x = np.array([1.0, np.nextafter(1.0, 2.0)])
    for y, expected in ((x, 1.0), (x[::-1], -1.0)):
        assert stats.pearson(x, y) == pytest.approx(expected)
        assert stats.slope(x, y) == pytest.approx(expected)


def test_a_slope_too_steep_for_a_float_is_infinite():
    assert stats.slope(np.array([0.0, 1e-300]), np.array([0.0, 1e300])) == math.inf


def test_intervals_are_nan_where_resampling_says_nothing():
    for interval in (
        stats.mean_interval(np.array([4.0])),
        stats.bootstrap_interval(np.arange(9.0), lambda v: math.nan if v[0] == 8 else v[0]),
    ):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)


def test_permutation_p_is_nan_when_the_statistic_is():
    assert math.isnan(permutation_p(np.ones(4), np.arange(4.0), stats.pearson, 10))


def test_infinite_scores_are_ranked():
    scores = np.array([-np.inf, 0.0, np.inf, np.inf])
    labels = np.array([False, False, True, True])
    assert stats.auroc(scores, labels) == 1.0
    assert stats.spearman(scores, np.array([1.0, 2.0, 3.0, 3.0])) == pytest.approx(1.0)


def call(name, *args, **kwargs):
    """Call without any run-time type check, which would refuse the bad input before we do."""
    return inspect.unwrap(getattr(stats, name))(*args, **kwargs)


GOOD = np.arange(4.0)
TWO_NAN = np.array([0.0, np.nan, 1.0, np.nan])
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("name", "args", "options", "got"),
    [
        *[(name, (GOOD, GOOD[:3]), {}, "4 and 3") for name in ("pearson", "spearman", "slope")],
        *[(name, (TWO_NAN, GOOD), {}, "2 nan among 4") for name in ("pearson", "spearman", "slope")],
        *[(name, (GOOD[:0], GOOD[:0]), {}, "shape (0,)") for name in ("pearson", "spearman", "slope")],
        *[(name, (GOOD, GOOD * 1j), {}, "complex") for name in ("pearson", "slope")],
        ("pearson", (np.array([1.0, np.inf]), GOOD[:2]), {}, "1 infinite among 2"),
        ("pearson", (GOOD.reshape(2, 2), GOOD), {}, "shape (2, 2)"),
        ("rank", (TWO_NAN,), {}, "2 nan among 4"),
        ("rank", (GOOD[:0],), {}, "shape (0,)"),
        ("auroc", (GOOD, LABELS[:2]), {}, "4 and 2"),
        ("auroc", (TWO_NAN, LABELS), {}, "2 nan among 4"),
        ("auroc", (GOOD[:0], LABELS[:0]), {}, "shape (0,)"),
        ("auroc", (GOOD, LABELS + 1), {}, "2 of 4 labels that are neither"),
        ("auroc", (GOOD, LABELS * 0), {}, "0 positive and 4 negative"),
        ("auroc", (GOOD, LABELS == LABELS), {}, "4 positive and 0 negative"),
        ("bootstrap_interval", (TWO_NAN,), {}, "2 nan among 4"),
        ("bootstrap_interval", (GOOD[:0],), {}, "shape (0,)"),
        ("bootstrap_interval", (GOOD.reshape(1, 2, 2),), {}, "shape (1, 2, 2)"),
        ("bootstrap_interval", (GOOD, lambda v: v), {}, "shape (4,)"),
        ("bootstrap_interval", (GOOD, lambda v, axis=None: v.mean()), {}, "shape ()"),
        ("bootstrap_interval", (GOOD,), {"n_resamples": 0}, "0"),
        ("bootstrap_interval", (GOOD,), {"level": 95.0}, "95"),
        ("mean_interval", (GOOD.reshape(2, 2),), {}, "shape (2, 2)"),
        ("wilson_interval", (3, 2), {}, "3"),
        ("wilson_interval", (-1, 2), {}, "-1"),
        ("wilson_interval", (0, 0), {}, "0"),
        ("wilson_interval", (1, 2), {"level": 1.0}, "1.0"),
        ("permutation_p", (GOOD, GOOD[:3]), {"statistic": stats.pearson}, "4 and 3"),
        ("permutation_p", (GOOD, TWO_NAN), {"statistic": stats.pearson}, "2 nan among 4"),
        ("permutation_p", (GOOD, GOOD), {"statistic": stats.pearson, "n_permutations": 0}, "0"),
        ("permutation_p", (GOOD, GOOD), {"statistic": lambda x, y: y}, "shape (4,)"),
        ("sign_flip_p", (TWO_NAN,), {}, "2 nan among 4"),
        ("sign_flip_p", (GOOD[:0],), {}, "shape (0,)"),
        ("sign_flip_p", (GOOD,), {"n_permutations": 0}, "0"),
        ("rank_of", (math.nan, GOOD), {}, "nan"),
        ("rank_of", (1.0, TWO_NAN), {}, "2 nan among 4"),
        ("rank_of", (1.0, GOOD[:0]), {}, "shape (0,)"),
    ],
)
def test_malformed_input_is_named(name, args, options, got):
    with pytest.raises(PatchclampError) as caught:
        call(name, *args, **options)
    assert got in caught.value.got
    assert caught.value.expected
    assert caught.value.remedy.endswith(".")
