"""The Expressive Leaky Memory neuron: one recurrent cell whose memory units each forget at a pace of their own."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import PatchclampError


@checked
class ELM(nn.Module):
    r"""Answer with what a leaky memory holds after the last step.

    Of synaptic inputs x_t, ``(batch, step, synapse)``, step by step:

    - b_t = k_s b_{t−1} + Σ_{synapses of the branch} ReLU(w) x_t, with k_s = exp(−Δt/τ_s);
    - Δm = 1.7159 tanh(⅔ MLP([b_t, k_m m_{t−1}])), the MLP with one hidden ReLU layer of 2 d_m units;
    - m_t = k_m m_{t−1} + (1 − exp(−λ Δt/τ_m)) Δm, with k_m = exp(−Δt/τ_m);
    - y = W m_T.

    The last step passes through ``branch``, ``hidden`` and ``memory`` (identities) and ``readout``, each of which is
    called once, so that what they hold there can be recorded, changed and differentiated. Earlier steps are no sites.

    Args:
        n_synapses: inputs, cut into branches of neighbours.
        n_memory: d_m, memory units.
        n_outputs: numbers of the answer.
        n_branches: branches; one synapse each by default.
        tau_max: the longest τ_m, in units of Δt; they are spaced evenly in their logarithm.
        tau_min: the shortest.
        tau_s: of the synaptic trace.
        lam: λ, how fast memory takes up what is new.
        learn_tau: let τ_m learn, between both ends; they stay as they are by default.

    Raises:
        PatchclampError: branches that do not share the synapses evenly, or times that are no range.

    Source: 2306.16922, the Branch-ELM of its second version: the trace is kept per branch, which equals the sum of
    its synapses' traces, and the update is bounded. Branches do not overlap here.

    Cost: (n_branches + 2 n_memory) · 2 n_memory products per step, one step after another.

    Example:
        >>> neuron = ELM(n_synapses=6, n_memory=3)
        >>> neuron(torch.zeros(2, 10, 6)).shape, [round(x, 1) for x in neuron.tau.tolist()]
        (torch.Size([2, 1]), [1.0, 12.2, 150.0])
    """

    def __init__(
        self,
        n_synapses: Positive,
        n_memory: Positive,
        n_outputs: Positive = 1,
        *,
        n_branches: Positive | None = None,
        tau_max: float = 150.0,
        tau_min: float = 1.0,
        tau_s: float = 5.0,
        lam: float = 5.0,
        learn_tau: bool = False,
    ) -> None:
        super().__init__()
        n_branches = n_branches or n_synapses
        if n_synapses % n_branches or not (0 < tau_min < tau_max < math.inf and tau_s > 0 < lam):
            raise PatchclampError(
                expected="branches of as many synapses each, and 0 < tau_min < tau_max, tau_s and lam",
                got=f"{n_synapses} synapses on {n_branches} branches, {tau_min}, {tau_max}, {tau_s} and {lam}",
                remedy="Give a number of branches that divides the synapses.",
            )
        self.n_branches, self.ends, self.lam, self.k_s = n_branches, (tau_min, tau_max), lam, math.exp(-1 / tau_s)
        self.weight = nn.Parameter(torch.full((n_synapses,), 0.5))  # w before its ReLU, as the authors begin
        spaced = torch.logspace(math.log10(tau_min), math.log10(tau_max), n_memory, dtype=torch.float64)
        if n_memory == 1:
            spaced = torch.tensor([math.sqrt(tau_min * tau_max)], dtype=torch.float64)
        share = ((spaced - tau_min) / (tau_max - tau_min)).clamp(1e-6, 1 - 1e-6)
        self.raw_tau = nn.Parameter(torch.logit(share).float(), requires_grad=learn_tau)
        self.first = nn.Linear(n_branches + n_memory, 2 * n_memory)
        self.second = nn.Linear(2 * n_memory, n_memory)
        self.branch, self.hidden, self.memory = nn.Identity(), nn.Identity(), nn.Identity()
        self.readout = nn.Linear(n_memory, n_outputs)

    @property
    def tau(self) -> Float[Tensor, " memory"]:
        """Time constants of the memory units, in units of Δt."""
        low, high = self.ends
        return low + (high - low) * torch.sigmoid(self.raw_tau)

    def forward(self, x: Float[Tensor, "batch step synapse"]) -> Float[Tensor, "batch output"]:
        """Return the answer after the last step."""
        driven = (x * torch.relu(self.weight)).unflatten(2, (self.n_branches, -1)).sum(3)  # (batch, step, branch)
        k_m, gain = torch.exp(-1 / self.tau), -torch.expm1(-self.lam / self.tau)
        b, m = x.new_zeros(len(x), self.n_branches), x.new_zeros(len(x), len(k_m))
        for drive in driven[:, :-1].unbind(1):
            b = self.k_s * b + drive
            m = self._remember(k_m * m, gain, torch.relu(self._mix(b, k_m * m)))
        b = self.branch(self.k_s * b + driven[:, -1])
        m = self._remember(k_m * m, gain, self.hidden(torch.relu(self._mix(b, k_m * m))))
        answer: Tensor = self.readout(self.memory(m))
        return answer

    def _mix(self, b: Tensor, kept: Tensor) -> Tensor:
        # Functions, not modules: what is called at every step would be no site.
        return linear(torch.cat([b, kept], 1), self.first.weight, self.first.bias)

    def _remember(self, kept: Tensor, gain: Tensor, hidden: Tensor) -> Tensor:
        new = 1.7159 * torch.tanh(linear(hidden, self.second.weight, self.second.bias) * (2 / 3))
        return kept + gain * new


def tiny() -> ELM:
    """Return a small neuron of 8 synapses and 6 memory units, with weights of seed 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ELM(n_synapses=8, n_memory=6, n_branches=4)


def example(module: ELM) -> Float[Tensor, "batch step synapse"]:
    """Return inputs that a neuron accepts."""
    return torch.zeros(1, 12, len(module.weight))
