"""Activation patching as it is defined: one whole forward pass per cell, with a hook written by hand."""

import torch

from oracles import hooks


def _run(module, ids, watched=(), changed=()):
    ids = torch.as_tensor(ids)[None]
    with torch.no_grad():
        return hooks.called(module, ids, torch.arange(ids.shape[1])[None], [*watched, *changed])


def effect(module, place, clean, corrupted, m, *, columns, positions, direction):
    """Return AP(n) of some columns of a place's tensor at some positions, for one pair.

    denoise: [m(x′ with n := n(x)) − m(x′)] / [m(x) − m(x′)]; noise: [m(x) − m(x with n := n(x′))] / [m(x) − m(x′)].
    """
    into, donor = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    kept = []
    _run(module, donor, [(*place, lambda x: kept.append(x.clone()))])

    def put(x):
        y = x.clone()
        for p in positions:
            y[0, p, columns] = kept[0][0, p, columns]
        return y

    ends = {name: float(m(_run(module, ids))) for name, ids in (("x", clean), ("x′", corrupted))}
    patched = float(m(_run(module, into, changed=[(*place, put)])))
    whole = ends["x"] - ends["x′"]
    return (patched - ends["x′"]) / whole if direction == "denoise" else (ends["x"] - patched) / whole
