"""Laws that hold for every input to patchclamp.core.stats, searched by Hypothesis."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchclamp.core import stats

# Multiples of 1/8 make ties common and keep sums, negation and the maps below exact.
eighths = st.integers(-800, 800).map(lambda i: i / 8)
seeds = st.integers(0, 2**32 - 1)


def vectors(min_size=1, max_size=30):
    return st.lists(eighths, min_size=min_size, max_size=max_size).map(np.array)


@st.composite
def paired(draw, min_size=1):
    rows = draw(st.lists(st.tuples(eighths, eighths), min_size=min_size, max_size=30))
    both = np.array(rows).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@st.composite
def scored(draw):
    rows = draw(st.lists(st.tuples(eighths, st.booleans()), min_size=2, max_size=30))
    labels = np.array([label for _, label in rows])
    assume(labels.any() and not labels.all())
    return np.array([score for score, _ in rows]), labels


def monotone(values):
    """Map strictly upwards, far from linearly, and without merging any two eighths."""
    return values**3 + values


def same(a, b, tolerance=1e-9):
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance


@given(paired())
def test_correlations_are_symmetric_and_bounded(pair):
    x, y = pair
    for statistic in (stats.pearson, stats.spearman):
        r = statistic(x, y)
        assert same(r, statistic(y, x))
        assert math.isnan(r) == (np.ptp(x) == 0 or np.ptp(y) == 0)
        assert math.isnan(r) or -1 <= r <= 1


@given(paired(min_size=2))
def test_correlation_with_itself_is_one_and_with_its_negative_minus_one(pair):
    x, _ = pair
    assume(np.ptp(x) > 0)
    for statistic in (stats.pearson, stats.spearman):
        assert statistic(x, x) == pytest.approx(1)
        assert statistic(x, -x) == pytest.approx(-1)


@given(paired(), st.integers(1, 16), st.integers(-100, 100))
def test_pearson_ignores_shift_and_scale_and_follows_sign(pair, scale, shift):
    x, y = pair
    r = stats.pearson(x, y)
    assert same(stats.pearson(scale * x + shift, y), r)
    assert same(stats.pearson(-scale * x + shift, y), -r)


@given(paired())
def test_spearman_ignores_monotone_maps(pair):
    x, y = pair
    assert same(stats.spearman(monotone(x), y), stats.spearman(x, y))
    assert same(stats.spearman(x, monotone(y)), stats.spearman(x, y))


@given(paired(), st.integers(1, 16), st.integers(-100, 100))
def test_slope_scales_with_y_and_against_x_and_ignores_shifts(pair, scale, shift):
    x, y = pair
    b = stats.slope(x, y)
    close = 1e-9 * (1 + abs(b)) * scale
    assert same(stats.slope(x + shift, scale * y + shift), scale * b, close)
    assert same(stats.slope(scale * x, y), b / scale, close)


@given(vectors(min_size=2), eighths, eighths)
def test_slope_recovers_a_line(x, intercept, gradient):
    assume(np.ptp(x) > 0)
    assert stats.slope(x, intercept + gradient * x) == pytest.approx(gradient, abs=1e-9)


@given(vectors())
def test_ranks_keep_order_and_their_sum(x):
    ranks = stats.rank(x)
    assert ranks.sum() == len(x) * (len(x) + 1) / 2
    assert np.array_equal(np.sign(ranks[:, None] - ranks), np.sign(x[:, None] - x))
    assert np.array_equal(stats.rank(-x), len(x) + 1 - ranks)


@given(scored())
def test_auroc_is_bounded_and_flips_with_scores_or_labels(data):
    scores, labels = data
    area = stats.auroc(scores, labels)
    assert 0 <= area <= 1
    assert area + stats.auroc(-scores, labels) == pytest.approx(1)
    assert area + stats.auroc(scores, ~labels) == pytest.approx(1)


@given(scored())
def test_auroc_ignores_monotone_maps(data):
    scores, labels = data
    assert stats.auroc(monotone(scores), labels) == stats.auroc(scores, labels)


@given(vectors(min_size=2), seeds)
def test_mean_interval_contains_the_mean_and_stays_within_the_data(values, seed):
    interval = stats.mean_interval(values, n_resamples=500, seed=seed)
    assert interval.low - 1e-9 <= values.mean() <= interval.high + 1e-9
    assert values.min() - 1e-9 <= interval.low <= interval.high <= values.max() + 1e-9
    assert interval == stats.mean_interval(values, n_resamples=500, seed=seed)


@given(vectors(min_size=2), seeds)
def test_a_higher_level_gives_a_wider_interval(values, seed):
    inner = stats.mean_interval(values, n_resamples=200, level=0.5, seed=seed)
    outer = stats.mean_interval(values, n_resamples=200, level=0.9, seed=seed)
    assert outer.low <= inner.low <= inner.high <= outer.high


@given(paired(min_size=2), seeds)
def test_rows_are_resampled_whole(pair, seed):
    x, _ = pair
    rows = np.stack([x, -x], axis=1)
    interval = stats.bootstrap_interval(rows, np.sum, n_resamples=50, seed=seed)
    assert (interval.low, interval.high) == (0, 0)


@given(st.data(), st.integers(1, 500), st.floats(0.01, 0.999))
def test_wilson_contains_the_proportion_and_mirrors(data, n, level):
    successes = data.draw(st.integers(0, n))
    interval = stats.wilson_interval(successes, n, level=level)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    mirrored = stats.wilson_interval(n - successes, n, level=level)
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)


@given(paired(), st.integers(1, 40), seeds)
def test_permutation_p_is_a_probability_and_two_sided(pair, n_permutations, seed):
    x, y = pair
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    options = {"statistic": stats.pearson, "n_permutations": n_permutations, "seed": seed}
    p = stats.permutation_p(x, y, **options)
    assert 1 / (1 + n_permutations) <= p <= 1
    assert stats.permutation_p(x, -y, **options) == p


@given(vectors(), st.integers(1, 60), seeds)
def test_sign_flip_p_is_a_probability_and_two_sided(differences, n_permutations, seed):
    p = stats.sign_flip_p(differences, n_permutations=n_permutations, seed=seed)
    assert 1 / (1 + n_permutations) <= p <= 1
    assert stats.sign_flip_p(-differences, n_permutations=n_permutations, seed=seed) == p
    if not differences.sum():
        assert p == 1


@given(eighths, vectors(), eighths)
def test_rank_of_is_a_probability_two_sided_and_falls_with_magnitude(value, controls, other):
    p = stats.rank_of(value, controls)
    assert 1 / (1 + len(controls)) <= p <= 1
    assert stats.rank_of(-value, -controls) == p
    if abs(other) >= abs(value):
        assert stats.rank_of(other, controls) <= p
