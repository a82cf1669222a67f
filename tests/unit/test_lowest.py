"""The lowest windows of each unit, against every window sorted."""

import numpy as np
import pytest
import torch

from patchclamp.atlas.bake.lowest import LOWEST, empty_lowest, keep_lowest, lowest_strips

STRIP, BEFORE, WIDTH = 32, 20, 5


@pytest.mark.parametrize("batch", [1, 4, 30])
def test_the_lowest_are_those_of_all_windows_sorted(batch):
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 70, size=30)
    windows = [draw.normal(size=(n, WIDTH)).astype(np.float32).round(1) for n in lengths]
    for values in windows:
        values[:, 3] = np.abs(values[:, 3])  # never below zero
        values[0, 4] = np.nan
    held = empty_lowest(WIDTH, STRIP)
    for start in range(0, 30, batch):
        few, n = windows[start : start + batch], lengths[start : start + batch]
        firsts = np.concatenate([[0], np.cumsum(n)[:-1]])
        # The first token of each window is special: no statistics count it.
        counted = np.concatenate([np.arange(a + 1, a + k) for a, k in zip(firsts, n, strict=True)])
        keep_lowest(held, torch.from_numpy(np.concatenate(few)), counted, start, firsts, n, BEFORE)
    strips = lowest_strips(held)
    for unit in range(WIDTH):
        rows = strips["unit"] == unit
        each = [(float(v[1:, unit].min()), i) for i, v in enumerate(windows)]
        expected = sorted(pair for pair in each if pair[0] < 0)[:LOWEST]
        assert list(zip(strips["value"][rows], strips["stimulus"][rows], strict=True)) == expected
        for value, stimulus, position, start, acts in zip(
            *(strips[name][rows] for name in ("value", "stimulus", "position", "start", "acts")), strict=True
        ):
            whole = windows[stimulus][:, unit]
            assert whole[position] == np.float32(value)
            shown = whole[start : start + STRIP]
            np.testing.assert_allclose(acts[: len(shown)], shown, rtol=1e-3)
            assert np.isnan(acts[len(shown) :]).all()
    assert not (strips["unit"] == 3).any()
