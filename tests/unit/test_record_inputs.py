"""A wrapped network's activations over its own inputs, on disk: equal to those of its own forward passes."""

import numpy as np
import pytest
import torch
from torch import nn

import patchclamp as pc
from patchclamp.cli.main import main
from patchclamp.core.errors import PatchclampError
from patchclamp.core.task import Case, Task
from patchclamp.record import record_inputs, survey_inputs

IDS = [(i % 5, (3 * i) % 5, i % 2) for i in range(7)]


def sequence():
    torch.manual_seed(0)
    net = pc.wrap(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.Tanh()), torch.tensor([[1, 2, 3]]))
    return net, Task(tuple(map(Case, IDS))), torch.tensor(IDS), "module.2.out"


def vectors():
    torch.manual_seed(0)
    x = torch.randn(7, 4)
    return pc.wrap(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), x[:1]), x, x, "module.1.out"


def images():
    torch.manual_seed(0)
    x = torch.randn(7, 1, 5, 5)
    return pc.wrap(nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh()), x[:1]), list(x.numpy()), x, "module.1.out"


@pytest.mark.parametrize("make", [sequence, vectors, images])
def test_what_is_stored_equals_the_modules_own_outputs(make, tmp_path):
    net, inputs, x, site = make()
    stored = record_inputs(net, inputs, site, tmp_path / "r", batch_size=3)
    with torch.no_grad():
        out = net.module(x)
    rows = out.flatten(2).transpose(1, 2) if out.ndim == 4 else out if out.ndim == 3 else out[:, None]
    assert stored.n_stimuli == 7
    for i in range(7):
        assert np.allclose(stored.of(site, i), rows[i], atol=1e-6)
    assert len({stored.stimulus(i).id for i in range(7)}) == 7
    found = survey_inputs(net, inputs, site, tmp_path / "s", batch_size=3)
    flat = rows.flatten(0, 1).double()
    assert np.allclose(found.mean(site), flat.mean(0), atol=1e-6)
    for unit in (0, 5):
        [best, *_] = found.exemplars(site, unit)
        assert best.value == pytest.approx(float(flat[:, unit].max()), abs=1e-6)


def test_a_whole_folder_is_opened_again_and_other_inputs_are_refused(tmp_path, capsys):
    net, task, _, site = sequence()
    first = record_inputs(net, task, site, tmp_path / "r")
    again = record_inputs(net, task, site, tmp_path / "r", resume=True)
    assert again.hash == first.hash
    assert main(["info", str(tmp_path / "r")]) == 0
    assert "7 of 7" in capsys.readouterr().out
    for inputs, words in [
        (IDS[:3], "the same model, arrays and plan"),
        ([(1, 2), (1, 2, 3)], "all of one shape"),
        ([], "at least one input"),
        (5, "a list of inputs"),
        ([np.ones(3)], "one row of int64"),
    ]:
        with pytest.raises(PatchclampError, match=words):
            record_inputs(net, inputs, site, tmp_path / "r", resume=True)
