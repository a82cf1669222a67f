"""Gradients averaged over other embeddings by their formulas, one run at a time: x the prompt, x′ its counterpart."""

import numpy as np
import torch

from oracles import hooks, integrated
from oracles.attribution import FAMILY, named, prompts, sites
from oracles.explain import counted


def smoothgrad(subject, task, options):
    """(n(x) − n(x′)) · 1/k Σⱼ ∂m/∂n at e + εⱼ, e the output of the embedding, εⱼ ~ N(0, σ²), the seed 0."""
    x, other, m = prompts(subject, task)
    embed = hooks.places(FAMILY[type(subject.module).__name__], 1)["embed"]
    e = integrated.value(subject.module, x, embed)
    epsilon = np.random.default_rng(0).standard_normal((options.samples, *e.shape))
    sigma = options.noise * (e.max() - e.min())
    found = {}
    for site, basis, place, n, r, width in sites(subject, x, other):
        slopes = [slope(subject.module, x, embed, e + sigma * torch.tensor(one).to(e), place, m) for one in epsilon]
        found |= named(site, basis, integrated.blocks((n - r) * sum(slopes) / len(slopes), width))
    return found


def slope(module, x, embed, noisy, place, m):
    """Return ∂m/∂n at a site in a run in which the embedding gives other values."""
    held = {}

    def keep(n):
        held["n"] = n.detach().requires_grad_(True)
        return held["n"]

    logits = hooks.called(module, x, counted(x), [(*embed, lambda _own: noisy[None]), (*place, keep)])
    return torch.autograd.grad(m(logits), held["n"])[0][0]


def joint_integrated_gradients(subject, task, options):
    """(n(x) − n(x′)) · Σ_k w_k ∂m/∂n, the run beginning at e(x′) + α_k (e(x) − e(x′))."""
    x, other, m = prompts(subject, task)
    embed = hooks.places(FAMILY[type(subject.module).__name__], 1)["embed"]
    e, e0 = (integrated.value(subject.module, one, embed) if one is not None else 0.0 for one in (x, other))
    points, weights = np.polynomial.legendre.leggauss(options.steps)
    found = {}
    for site, basis, place, n, r, width in sites(subject, x, other):
        slopes = sum(
            w / 2 * slope(subject.module, x, embed, e0 + (a + 1) / 2 * (e - e0), place, m)
            for a, w in zip(points, weights, strict=True)
        )
        found |= named(site, basis, integrated.blocks((n - r) * slopes, width))
    return found
