"""Intervals and p-values of many columns are those of ``core.stats``, one column at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import mean_interval, sign_flip_p
from patchclamp.core.stats_columns import estimate_means, least_p, mean_columns, mean_intervals, sign_flips


@given(st.integers(1, 30), st.integers(0, 7), st.integers(0, 2**31))
def test_each_column_is_that_of_stats(n, k, seed):
    values = np.random.default_rng(seed).normal(size=(n, k)) * 10.0 ** np.arange(-3, k - 3)
    low, high = mean_intervals(values, n_resamples=200, seed=4)
    p, null_low, null_high = sign_flips(values, n_permutations=200, seed=5)
    signs = 2 * np.random.default_rng(5).integers(0, 2, size=(200, n)) - 1
    for j in range(k):
        own = mean_interval(values[:, j], n_resamples=200, seed=4)
        assert (low[j], high[j]) == pytest.approx((own.low, own.high), rel=1e-9, abs=1e-12, nan_ok=True)
        assert p[j] == sign_flip_p(values[:, j], n_permutations=200, seed=5)
        flipped = (signs * values[:, j]).mean(1)
        assert (null_low[j], null_high[j]) == pytest.approx(np.quantile(flipped, [0.025, 0.975]), rel=1e-9, abs=1e-12)


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**31))
def test_an_estimate_rests_on_the_rows_that_have_it(n, k, seed):
    draw = np.random.default_rng(seed)
    values = np.where(draw.random((n, k)) < 0.3, np.nan, draw.normal(size=(n, k)))
    means, counts = mean_columns(values)
    for j, one in enumerate(estimate_means(values, "m")):
        own = values[~np.isnan(values[:, j]), j]
        assert one.n == counts[j] == len(own)
        if not len(own):
            assert np.isnan([one.value, one.low, means[j]]).all()
            assert (one.interval, one.null, one.p) == (None, None, None)
            continue
        assert one.value == means[j] == pytest.approx(own.mean(), abs=1e-12)
        assert one.p == sign_flip_p(own)
        assert (one.interval is None) == (len(own) == 1)
        interval = mean_interval(own)
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=1e-9, nan_ok=True)


def test_blocks_change_nothing(monkeypatch):
    from patchclamp.core import stats_columns

    values = np.random.default_rng(0).normal(size=(12, 9))
    before = *mean_intervals(values), *sign_flips(values)
    monkeypatch.setattr(stats_columns, "_AT_ONCE", 4000)
    after = *mean_intervals(values), *sign_flips(values)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_single_precision_has_the_figures_of_the_same_numbers_in_double():
    values = np.random.default_rng(0).normal(size=(2, 400)).astype(np.float32)
    double = values.astype(np.float64)
    assert all((sign_flips(values)[i] == sign_flips(double)[i]).all() for i in range(3))
    assert all((mean_intervals(values)[i] == mean_intervals(double)[i]).all() for i in range(2))


def test_a_column_of_equal_values_has_no_width_and_zeros_no_effect():
    values = np.stack([np.full(9, 0.1), np.zeros(9)], axis=1)
    low, high = mean_intervals(values)
    assert (low == values[0]).all()
    assert (high == values[0]).all()
    p, null_low, null_high = sign_flips(values)
    assert (p[1], null_low[1], null_high[1]) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.array([[np.nan]]), np.array([[1.0], [np.inf]])])
def test_what_has_no_mean_is_refused(values):
    for compute in (mean_intervals, sign_flips):
        with pytest.raises(PatchclampError, match="finite values"):
            compute(values)


def test_the_least_p_is_two_of_all_signs_or_one_of_all_draws():
    assert least_p(1) == 1.0
    assert least_p(3) == 0.25
    assert least_p(100) == 1 / 2001
