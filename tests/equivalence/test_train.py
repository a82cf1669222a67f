"""The loop is a plain PyTorch loop, bit for bit; early stopping gives the weights of the best step."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from oracles.training import bare_loop, stop_early
from patchclamp.train import EarlyStop, Objective, Plan, train

PLAN = {"passes": 3, "warmup": 0.25, "decay": 0.5, "clip": 0.7, "seed": 5}
RATE = 0.02


@pytest.fixture(scope="module")
def data():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(44, 6, generator=draw)
    return TensorDataset(x, x[:, :2] * x[:, 2:4])


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))


def adam(parameters):
    return torch.optim.Adam(parameters, lr=RATE)


def error_of(net):
    return lambda batch, step: mse_loss(net(batch[0]), batch[1])


def test_the_loop_is_a_bare_one_bit_for_bit(net, data):
    plain, batches = copy.deepcopy(net), DataLoader(data, batch_size=8, shuffle=True)
    with torch.random.fork_rng():
        weights, losses = bare_loop(plain, batches, error_of(plain), rate=RATE, **PLAN)
    before = torch.get_rng_state()
    made = train(Objective(net, error_of(net), adam), batches, Plan(**PLAN))
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator was used"
    assert all(torch.equal(t, weights[-1][name]) for name, t in net.state_dict().items())
    assert not all(torch.equal(t, weights[-2][name]) for name, t in net.state_dict().items())
    assert made.curves["loss"] == tuple(enumerate(losses, 1))
    assert (made.planned, made.steps, made.kept) == (18, 18, 18)


def test_modules_trained_together_are_those_trained_alone(net, data):
    nets = [net, nn.Linear(6, 2)]
    alone, together = copy.deepcopy(nets), copy.deepcopy(nets)
    # Dropout would draw for one after the other.
    batches, plan = list(DataLoader(data, batch_size=8)), Plan(passes=2, decay=0.2)
    for one in [*alone, *together]:
        one.eval()
    for one in alone:
        train(Objective(one, error_of(one), adam), batches, plan)
    made = train(
        {name: Objective(one, error_of(one), adam) for name, one in zip("ab", together, strict=True)}, batches, plan
    )
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())
    assert set(made.curves) == {"a/loss", "b/loss"}


def test_what_is_followed_is_the_mean_since_the_point_before(data):
    net = nn.Linear(6, 2)
    seen = []

    def loss(batch, step):
        seen.append(float(step) ** 2)
        return {"loss": mse_loss(net(batch[0]), batch[1]), "square": seen[-1]}

    made = train(Objective(net, loss), list(DataLoader(data, batch_size=8)), Plan(steps=250))
    assert seen == [step**2 for step in range(250)]
    assert made.curves["square"] == tuple((step, sum(seen[step - 2 : step]) / 2) for step in range(2, 251, 2))


def test_a_schedule_of_ones_own_takes_the_place_of_the_plans(data):
    net, rates = nn.Linear(6, 2), []

    def optimizer(parameters):
        made = torch.optim.SGD([{"params": parameters[:1], "lr": 0.5}, {"params": parameters[1:]}], lr=0.1)
        made.register_step_pre_hook(lambda one, *_: rates.append([group["lr"] for group in one.param_groups]))
        return made

    batches = list(DataLoader(data, batch_size=8))[:4]
    train(Objective(net, error_of(net), optimizer, lambda step, n: (step + 1) / n), batches, Plan(decay=0.9))
    assert rates == [[0.5 * share, 0.1 * share] for share in (0.25, 0.5, 0.75, 1.0)]


@given(
    values=st.lists(st.integers(0, 6).map(float), min_size=7, max_size=7),
    every=st.integers(1, 3), patience=st.integers(1, 3), better=st.sampled_from(["lower", "higher"]),
    least=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
def test_early_stopping_keeps_the_best_measured_step(values, every, patience, better, least):
    net, batches = nn.Linear(1, 1), [torch.ones(2, 1)]
    best, last = stop_early(values, every=every, patience=patience, better=better, least=least)
    states, step_now = [], [0]

    def measure():
        states.append(copy.deepcopy(net.state_dict()))
        return values[step_now[0]]

    def count(done, total):
        assert total == 6

    def loss(batch, step):
        step_now[0] = step + 1  # what is measured next, is measured after this step
        return net(batch).mean()

    stop = EarlyStop(measure, every=every, patience=patience, better=better, least=least)
    made = train(Objective(net, loss), batches, Plan(steps=6), early_stop=stop, progress=count)
    assert (made.kept, made.steps) == (best, last)
    assert made.stopped_early is (last < 6)
    measured = [step for step in range(last + 1) if step % every == 0 or step == 6]
    assert made.curves["held_out"] == tuple((step, values[step]) for step in measured)
    kept = states[measured.index(best)]
    assert all(torch.equal(t, kept[name]) for name, t in net.state_dict().items())
    assert made.curves["loss"][-1][0] == last or last == 0


def test_measuring_changes_nothing_that_follows(net, data):
    """It is done in evaluation mode, with generators of its own, and the modes are put back as they were."""
    plain, batches = copy.deepcopy(net), DataLoader(data, batch_size=8, shuffle=True)
    for one in (plain, net):
        one[1].eval()  # a part that is frozen on purpose
    seen = []

    def measure():
        seen.append(any(part.training for part in net.modules()) or torch.is_grad_enabled())
        return -float(len(seen)) - 0 * torch.rand(3).sum().item()

    train(Objective(plain, error_of(plain), adam), batches, Plan(passes=2))
    train(
        Objective(net, error_of(net), adam), batches, Plan(passes=2), early_stop=EarlyStop(measure, every=1, patience=1)
    )
    assert seen == [False] * 13
    assert all(torch.equal(t, plain.state_dict()[name]) for name, t in net.state_dict().items())
    assert [part.training for part in net] == [True, False, True, True, True]
