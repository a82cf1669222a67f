"""What is moved to a file has the values it had, takes changes, and leaves memory when it is let go of."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from patchclamp.record.mapped import OneAtATime, move_to_file


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_values_stay_and_change_in_place(tmp_path):
    made = {"a": torch.arange(6).view(2, 3), "b": np.full(3, np.nan, np.float16), "none": torch.zeros(0), "n": 3}
    release = move_to_file(made, tmp_path)
    assert list(tmp_path.iterdir()) == []
    made["a"][1] += 10
    made["b"][0] = 2
    release()
    assert made["a"].tolist() == [[0, 1, 2], [13, 14, 15]]
    assert made["b"][0] == 2
    assert np.isnan(made["b"][1:]).all()
    assert made["n"] == 3
    assert made["none"].shape == (0,)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no account of memory on this system")
def test_what_is_let_go_of_leaves_memory_while_another_is_asked_for(tmp_path):
    made = {name: np.ones(2**24, np.uint8) for name in "abcd"}
    release = move_to_file(made, tmp_path)
    before = resident()
    for array in made.values():
        array += 1
    assert resident() - before > 3 * 2**24
    release()
    assert resident() - before < 2**22
    one = OneAtATime(made, release)
    assert sum(int(one[name].sum()) for name in one) == 2 * 4 * 2**24
    assert resident() - before < 1.5 * 2**24
