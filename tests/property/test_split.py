"""A split never fits on a scored row, nor on one within the gap of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchclamp.core.errors import PatchclampError
from patchclamp.core.split import Split


@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 4))
def test_blocks_score_every_row_once_and_keep_the_gap(n, folds, gap):
    rows, fold = np.arange(n), np.arange(n) * folds // n
    left = [np.abs(rows[:, None] - rows[None, fold == k]).min(1).max() > gap for k in np.unique(fold)]
    if not all(left):
        with pytest.raises(PatchclampError, match="beside every fold"):
            Split.blocks(n, folds=folds, gap=gap)
        return
    split = Split.blocks(n, folds=folds, gap=gap)
    scored_rows = np.concatenate([scored for _, scored in split])
    assert sorted(scored_rows.tolist()) == list(range(n))
    for fitted, scored in split:
        assert np.abs(fitted[:, None] - scored[None]).min() > gap


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30))
def test_groups_are_left_out_whole(labels):
    if len(set(labels)) < 2:
        with pytest.raises(PatchclampError, match="two folds"):
            Split.leave_out(labels)
        return
    split = Split.leave_out(sorted(labels))
    assert len(split) == len(set(labels))
    for fitted, scored in split:
        names = sorted(labels)
        assert {names[i] for i in fitted}.isdisjoint(names[i] for i in scored)


def test_a_gap_does_not_reach_across_time_courses():
    split = Split(np.array([0, 0, 1, 1]), 1, "two runs", np.array([0, 0, 1, 1]))
    assert [(f.tolist(), s.tolist()) for f, s in split] == [([2, 3], [0, 1]), ([0, 1], [2, 3])]


def test_a_random_sample_of_one_time_course_is_refused():
    fold = np.random.default_rng(0).integers(0, 5, 100)
    with pytest.raises(PatchclampError, match=r"Split\.blocks"):
        Split(fold)
    assert len(Split.leave_out(fold.tolist(), apart=True)) == 5


def test_a_gap_that_leaves_nothing_is_refused():
    with pytest.raises(PatchclampError, match="beside every fold"):
        Split.blocks(6, folds=2, gap=5)
