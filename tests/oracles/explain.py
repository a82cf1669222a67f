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
    """Return n(x) ∂m/∂n |ₓ, or with x′ (n(x) − n(x′)) ∂m/∂n |ₓ′, by ``(site, position, column)``."""
    place = {site: (path, side) for site, (path, side) in sites.items()}
    at_x = hooks.gradients(module, x, torch.arange(x.shape[1])[None], list(place.values()), m)
    if x_ is None:
        change, gradient = ({s: at_x[p][k][0] for s, p in place.items()} for k in (0, 1))
    else:
        at_x_ = hooks.gradients(module, x_, torch.arange(x_.shape[1])[None], list(place.values()), m)
        change = {s: at_x[p][0][0] - at_x_[p][0][0] for s, p in place.items()}
        gradient = {s: at_x_[p][1][0] for s, p in place.items()}
    return {
        (site, position, column): float(change[site][position, column] * gradient[site][position, column])
        for site in sites
        for position in range(x.shape[1])
        for column in range(change[site].shape[1])
    }


def effect(module, x, sites, m, nodes, x_=None):
    """Return m(x) − m(x with some nodes ``(site, position, columns)`` at 0, or at their values under x′)."""
    with torch.no_grad():
        place, p = torch.arange(x.shape[1])[None], {s: (path, side) for s, (path, side) in sites.items()}
        put = {s: 0.0 for s in sites}
        if x_ is not None:
            hooks.called(module, x_, place, [(*p[s], lambda v, s=s: put.update({s: v.clone()})) for s in sites])

        def see(v, site):
            v = v.clone()
            for at, columns in ((i, c) for s, i, c in nodes if s == site):
                v[0, at, columns] = 0.0 if x_ is None else put[site][0, at, columns]
            return v

        changed = hooks.called(module, x, place, [(*p[s], lambda v, s=s: see(v, s)) for s in sites])
        return float(m(hooks.called(module, x, place)) - m(changed))
