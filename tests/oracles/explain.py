"""Attribution patching and ablation with plain hooks and autograd: one unit, one position, one forward at a time.

Letters: x the prompt, x′ the corrupted prompt, n(x) a unit's activation, m the metric of the logits z.
"""

import torch

from oracles import hooks


def logit_difference(t, c):
    return lambda z: z[0, -1, t] - z[0, -1, c]


def sequence_log_probability(answer):
    """Σ_i log p(a_i | prompt, a_<i); z has one row per token of prompt and answer but the last."""
    k = len(answer)
    return lambda z: sum(z[0, i - k].log_softmax(-1)[a] for i, a in enumerate(answer))


def scores(module, x, sites, m, x_=None):
    """Return n(x) ∂m/∂n |ₓ, or with x′ (n(x) − n(x′)) ∂m/∂n |ₓ, by ``(site, position, column)``."""
    at_x = hooks.gradients(module, x, counted(x), list(sites.values()), m)
    at_x_ = at_x if x_ is None else hooks.gradients(module, x_, counted(x_), list(sites.values()), m)
    found = {}
    for site, place in sites.items():
        for position, column in torch.cartesian_prod(*map(torch.arange, at_x[place][0][0].shape)).tolist():
            n = at_x[place][0][0, position, column]
            n_ = 0.0 if x_ is None else at_x_[place][0][0, position, column]
            found[site, position, column] = float((n - n_) * at_x[place][1][0, position, column])
    return found


def effect(module, x, sites, m, nodes, x_=None):
    """Return m(x) − m(x with some nodes ``(site, position, columns)`` at 0, or at their values under x′)."""
    values = {}
    if x_ is not None:
        keep = [(*place, lambda v, s=s: values.update({s: v.detach().clone()})) for s, place in sites.items()]
        hooks.called(module, x_, counted(x_), keep)

    def change(v, site):
        v = v.clone()
        for _, position, columns in (node for node in nodes if node[0] == site):
            v[0, position, columns] = 0.0 if x_ is None else values[site][0, position, columns]
        return v

    changed = hooks.called(module, x, counted(x), [(*p, lambda v, s=s: change(v, s)) for s, p in sites.items()])
    return float((m(hooks.called(module, x, counted(x))) - m(changed)).detach())


def counted(x):
    return torch.arange(x.shape[1])[None]
