"""Scores of a site's values with plain hooks and autograd, one run per point and one run per node.

Letters: x the prompt, n a site's values there ``(position, width)``, r their baseline, m the metric of the logits z.
"""

import torch

from oracles import hooks
from oracles.explain import counted


def value(module, x, place):
    """Return n(x)."""
    found = {}
    hooks.called(module, x, counted(x), [(*place, lambda n: found.update(n=n.detach().clone()))])
    return found["n"][0]


def gradient(module, x, place, n, m):
    """Return ∂m/∂n in a run on x in which the site is given the values n."""
    n = n.clone().requires_grad_(True)
    logits = hooks.called(module, x, counted(x), [(*place, lambda _own: n[None])])
    return torch.autograd.grad(m(logits), n)[0]


def patched_to_first_order(module, here, other, place, m, *, backward=None):
    """Return what ``here`` loses to first order when n becomes n(other): (n(here) − n(other)) · ∂m/∂n at ``here``.

    Papers denoise: (n(x) − n(x′)) · ∂m/∂n at x′, which is the negative of this with x′ for ``here``.
    """
    n, theirs = (value(module, run, place) for run in (here, other))
    return (n - theirs) * gradient(backward or module, here, place, n, m)


def integrated(module, x, place, r, m, points):
    """Return (n − r) ∫₀¹ ∂m/∂n at r + α (n − r) dα, the integral as a mean over midpoints."""
    n, total = value(module, x, place), 0.0
    for k in range(points):
        alpha = (k + 0.5) / points
        total = total + gradient(module, x, place, r + alpha * (n - r), m)
    return (n - r) * total / points


@torch.no_grad()
def replaced(module, x, place, r, m, chosen=None):
    """Return m(x) − m(x with n := r), at the chosen ``(position, columns)`` only where they are named."""

    def change(n):
        n = n.clone()
        if chosen is None:
            n[0] = r
        else:
            n[0, *chosen] = r[chosen]
        return n

    return float(m(hooks.called(module, x, counted(x))) - m(hooks.called(module, x, counted(x), [(*place, change)])))


def blocks(scores, width):
    """Sum ``(position, column)`` scores over every unit's ``width`` columns, one unit at a time."""
    units = range(0, scores.shape[1], width)
    return torch.stack([sum(scores[:, u + k] for k in range(width)) for u in units], 1)
