"""The ELM neuron: equal to a loop over steps, in the rig at its last step, and in need of its slow memory."""

import functools

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

import patchclamp as pc
from conftest import SOAK
from oracles.elm import elm
from patchclamp.core.stats import auroc
from patchclamp.subjects import nets
from patchclamp.subjects.nets.elm import ELM
from patchclamp.train import Objective, Plan

SYNAPSES, STEPS = 8, 40
TAUS = np.array([2.0, 8.0, 20.0, 40.0])
Examples = tuple[torch.Tensor, np.ndarray]


def spikes(*shape: int, rate: float = 0.15, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < rate).astype(np.float32)


def compartments(n: int, seed: int) -> Examples:
    """Return inputs of a toy neuron of four compartments, two fast and two slow, and whether its soma is above median.

    Compartment v_c = exp(−1/τ_c) v_c + its two synapses; the soma sums the products of a fast one's and a slow one's
    sigmoid, each in standard deviations.
    """
    x = spikes(n, STEPS, SYNAPSES, seed=seed)
    v = np.zeros((n, 4))
    for step in x.swapaxes(0, 1):
        v = v * np.exp(-1 / TAUS) + step.reshape(n, 4, 2) @ [1.0, 0.5]
    mean = 0.15 * 1.5 / (1 - np.exp(-1 / TAUS))
    sd = np.sqrt(0.15 * 0.85 * 1.25 / (1 - np.exp(-2 / TAUS)))
    a = 1 / (1 + np.exp(-3 * (v - mean) / sd))
    soma = a[:, 0] * a[:, 2] + a[:, 1] * a[:, 3]
    return torch.from_numpy(x), soma > np.median(soma)


def cued(n: int, seed: int, steps: int = 60) -> Examples:
    """Return inputs in which one of two synapses is active for 6 steps, before noise; asked is which one."""
    x, y = spikes(n, steps, SYNAPSES, seed=seed), np.random.default_rng((seed, 1)).integers(0, 2, n)
    x[:, :6, :2] = 0
    x[np.arange(n), :6, y] = 1
    return torch.from_numpy(x), y > 0


def fitted(examples: Examples, n_memory: int, *, steps: int = 100, **options) -> ELM:
    x, y = examples
    torch.manual_seed(0)
    net = ELM(SYNAPSES, n_memory, **options)
    data = TensorDataset(x, torch.from_numpy(y).float()[:, None])
    batches = DataLoader(data, batch_size=128, shuffle=True)
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    objective = Objective(net, lambda b, _: binary_cross_entropy_with_logits(net(b[0]), b[1]), adam)
    pc.train(objective, batches, Plan(steps=steps, decay=0.3, clip=1.0))
    return net


@torch.no_grad()
def area(net: ELM, examples: Examples) -> float:
    return auroc(net(examples[0])[:, 0].double().numpy(), examples[1])


@torch.no_grad()
def shuffled(net: ELM, examples: Examples, n: int = 5) -> float:
    """Return the mean AUC with the time constants handed to other memory units."""
    raw, found = net.raw_tau.clone(), []
    for k in range(n):
        net.raw_tau.copy_(raw[np.random.default_rng(k).permutation(len(raw))])
        found.append(area(net, examples))
    net.raw_tau.copy_(raw)
    return float(np.mean(found))


@pytest.fixture(scope="module")
def toy() -> tuple[Examples, Examples]:
    return compartments(4000, 0), compartments(2000, 1)


@pytest.fixture(scope="module")
def neuron(toy) -> ELM:
    return fitted(toy[0], 8, tau_max=60.0)


@pytest.mark.parametrize("branches", [8, 4, 1])
def test_it_equals_a_loop_over_steps_and_synapses(branches):
    torch.manual_seed(branches)
    net = ELM(SYNAPSES, 5, 2, n_branches=branches, tau_max=30.0, lam=3.0).double()
    torch.nn.init.normal_(net.weight)  # some below zero, which count as none
    x = spikes(3, 20, SYNAPSES, rate=0.3, seed=1).astype(np.float64)
    answers, memories = elm(net, x)
    subject = pc.wrap(net, torch.from_numpy(x), name="elm")
    seen = subject.run(torch.from_numpy(x), record=["module.memory.out"])
    np.testing.assert_allclose(seen.recording["module.memory.out"].reshape(3, 5), memories, atol=1e-12)
    np.testing.assert_allclose(np.asarray(seen.logits).reshape(3, 2), answers, atol=1e-12)


def test_its_last_step_lies_in_the_rig():
    subject = pc.load("net:elm")
    assert "elm" in nets.names()
    paths = {site.path: site.width for site in subject.sites()}
    for name, width in (("branch", 4), ("hidden", 12), ("memory", 6)):
        assert paths[f"module.{name}.out"] == width
    assert not any("first" in path or "second" in path for path in paths)
    x = torch.from_numpy(spikes(2, 12, SYNAPSES, rate=0.3))
    held = subject.run(x, interventions=[pc.clamp("module.memory.out/neurons/2=0.7")], record=["module.memory.out"])
    plain = subject.run(x, record=["module.memory.out"])
    with torch.no_grad():
        assert torch.equal(plain.logits.reshape(2, 1), subject.module(x))
        memory = plain.recording["module.memory.out"].reshape(2, 6).clone()
        memory[:, 2] = 0.7
        torch.testing.assert_close(held.logits.reshape(2, 1), subject.module.readout(memory))
    # What the last step reads is upstream: a changed branch changes the memory.
    other = subject.run(x, interventions=[pc.clamp("module.branch.out/neurons/0=5.0")], record=["module.memory.out"])
    assert not torch.equal(other.recording["module.memory.out"], plain.recording["module.memory.out"])


def test_time_constants_are_spaced_in_their_logarithm_and_learn_only_if_they_are_let():
    net = ELM(4, 4, tau_max=1000.0)
    np.testing.assert_allclose(net.tau.detach(), [1, 10, 100, 1000], rtol=2e-3)
    assert not net.raw_tau.requires_grad
    assert ELM(4, 4, learn_tau=True).raw_tau.requires_grad


@pytest.mark.soak
def test_more_memory_units_come_nearer_to_a_neuron_of_compartments(toy, neuron):
    one = fitted(toy[0], 1, tau_max=60.0)
    assert area(neuron, toy[1]) > area(one, toy[1]) + 0.05
    assert area(neuron, toy[1]) > 0.9
    if SOAK:  # minutes of training, after which further units gain little
        examples = compartments(8000, 0)
        areas = [area(fitted(examples, n, steps=1000, tau_max=60.0), toy[1]) for n in (1, 2, 4, 8, 16, 32)]
        assert areas[-1] > 0.98
        assert areas[-1] - areas[-2] < 0.25 * (areas[-1] - areas[0])


def test_memory_units_need_their_own_time_constants(toy, neuron):
    assert shuffled(neuron, toy[1]) < area(neuron, toy[1]) - 0.05


def test_a_cue_of_long_ago_needs_a_long_time_constant():
    examples, test = cued(2000, 0), cued(1000, 1)
    assert area(fitted(examples, 8, tau_max=5.0, steps=60), test) < 0.6
    assert area(fitted(examples, 8, tau_max=100.0, steps=60), test) > 0.95


@pytest.mark.parametrize(
    "options", [{"n_branches": 3}, {"tau_max": 0.5}, {"tau_s": 0.0}, {"tau_min": -1.0}, {"lam": 0.0}], ids=str
)
def test_what_is_no_neuron_is_refused(options):
    with pytest.raises(pc.PatchclampError, match="branches of as many synapses"):
        ELM(SYNAPSES, 4, **options)


def test_names_and_options_of_networks_as_code_are_checked():
    for attempt in (lambda: pc.load("net:none"), lambda: pc.load("net:elm", dtype="float16")):
        with pytest.raises(pc.PatchclampError):
            attempt()
