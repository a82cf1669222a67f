"""Features of a basis as nodes, with plain hooks and autograd, one feature and one run at a time.

Letters: x a site's values ``(position, width)``, E and D the rows that read and write, f = φ(E x), r its baseline.
"""

import torch

from oracles import integrated


def codes(x, E, k=None):
    """Return f ``(position, unit)``: relu of each product, only the k largest of a position where k is given."""
    f = torch.stack([torch.stack([(row @ e).clamp(min=0) for e in E]) for row in x])
    if k is not None:
        for row in f:
            row[row < row.sort().values[-k]] = 0
    return f


def patched(f, r, gradient, D):
    """Return (f_u − r_u) · (∂m/∂x · D_u), one node at a time."""
    return torch.stack(
        [torch.stack([(f[p, u] - r[p, u]) * (gradient[p] @ D[u]) for u in range(len(D))]) for p in range(len(f))]
    )


def path(module, ids, place, x, f, r, D, m, points):
    """Return (f − r) · ∫ ∂m/∂x Dᵀ along x(α) = x − (1 − α) (f − r) D, the integral as a mean over midpoints."""
    total = 0.0
    for i in range(points):
        alpha = (i + 0.5) / points
        total = total + integrated.gradient(module, ids, place, x - (1 - alpha) * (f - r) @ D, m)
    return patched(f, r, total / points, D)


def effect(module, ids, place, x, f, r, D, m, nodes):
    """Return m(x) − m(x with some ``(position, unit)`` nodes at r), what the basis leaves over kept."""
    changed = x.clone()
    for position, unit in nodes:
        changed[position] += (r[position, unit] - f[position, unit]) * D[unit]
    return integrated.replaced(module, ids, place, changed, m)
