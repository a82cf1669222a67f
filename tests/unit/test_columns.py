"""Intervals and p-values of many columns are those of ``core.stats``, one column at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.core.columns import least_p, mean_intervals, sign_flips
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stats import mean_interval, sign_flip_p


@given(st.integers(1, 30), st.integers(0, 7), st.integers(0, 2**31))
def test_each_column_is_that_of_stats(n, k, seed):
    values = np.random.default_rng(seed).normal(size=(n, k)) * 10.0 ** np.arange(-3, k - 3)
    low, high = mean_intervals(values, n_resamples=200, seed=4)
    p = sign_flips(values, n_permutations=200, seed=5)
    for j in range(k):
        own = mean_interval(values[:, j], n_resamples=200, seed=4)
        assert (low[j], high[j]) == pytest.approx((own.low, own.high), rel=1e-9, abs=1e-12, nan_ok=True)
        assert p[j] == sign_flip_p(values[:, j], n_permutations=200, seed=5)


def test_blocks_change_nothing(monkeypatch):
    from patchclamp.core import columns

    values = np.random.default_rng(0).normal(size=(12, 9))
    before = *mean_intervals(values), sign_flips(values)
    monkeypatch.setattr(columns, "_AT_ONCE", 4000)
    after = *mean_intervals(values), sign_flips(values)
    np.testing.assert_allclose(before[0], after[0], atol=1e-12)
    np.testing.assert_allclose(before[2], after[2])


def test_a_column_of_equal_values_has_no_width_and_zeros_no_effect():
    values = np.stack([np.full(9, 0.1), np.zeros(9)], axis=1)
    low, high = mean_intervals(values)
    assert (low == values[0]).all()
    assert (high == values[0]).all()
    assert sign_flips(values)[1] == 1.0


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.array([[np.nan]]), np.array([[1.0], [np.inf]])])
def test_what_has_no_mean_is_refused(values):
    for compute in (mean_intervals, sign_flips):
        with pytest.raises(PatchclampError, match="finite values"):
            compute(values)


def test_the_least_p_is_two_of_all_signs_or_one_of_all_draws():
    assert least_p(1) == 1.0
    assert least_p(3) == 0.25
    assert least_p(100) == 1 / 2001
