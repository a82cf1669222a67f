"""Faithfulness by hand: one pair, one subset at a time, with plain forward hooks on a GPT-2."""

import numpy as np
import torch


def m_of(model, metric, prompt, values, kept):
    """Return m on a prompt with all heads and MLPs outside ``kept`` as in ``values``.

    ``kept`` holds ("head", block, head), ("mlp", block) and ("embed",).
    """
    module, n_heads = model.module, model.module.config.n_head
    handles = []

    def hold(place, before, keep_columns):
        def hook(_module, args, output=None):
            x = args[0] if before else output
            keep = torch.zeros(x.shape[-1], dtype=torch.bool)
            keep[keep_columns] = True
            mixed = torch.where(keep, x, values[place])
            return (mixed,) if before else mixed

        return hook

    for i, block in enumerate(module.transformer.h):
        width = module.config.n_embd // n_heads
        own = [c for h in range(n_heads) if ("head", i, h) in kept for c in range(h * width, (h + 1) * width)]
        handles.append(block.attn.c_proj.register_forward_pre_hook(hold(("z", i), True, own)))
        everything = slice(None) if ("mlp", i) in kept else []
        handles.append(block.mlp.register_forward_hook(hold(("mlp", i), False, everything)))
    everything = slice(None) if ("embed",) in kept else []
    handles.append(module.transformer.drop.register_forward_hook(hold(("embed",), False, everything)))
    try:
        with torch.no_grad():
            logits = module(torch.as_tensor(prompt.ids)[None]).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    return float(logits[list(metric.target)].mean() - logits[list(metric.contrast)].mean())


def values_of(model, prompt):
    """Return what every head and MLP and the embedding is on a prompt."""
    found, handles = {}, []

    def see(place, before):
        def hook(_module, args, output=None):
            found[place] = (args[0] if before else output).detach().clone()

        return hook

    for i, block in enumerate(model.module.transformer.h):
        handles.append(block.attn.c_proj.register_forward_pre_hook(see(("z", i), True)))
        handles.append(block.mlp.register_forward_hook(see(("mlp", i), False)))
    handles.append(model.module.transformer.drop.register_forward_hook(see(("embed",), False)))
    with torch.no_grad():
        model.module(torch.as_tensor(prompt.ids)[None])
    for handle in handles:
        handle.remove()
    return found


def faithfulness(model, pairs, kept):
    """Return [m(C) − m(∅)] / [m(M) − m(∅)], means over pairs, with the corrupted prompt outside C."""
    n, h = model.module.config.n_layer, model.module.config.n_head
    everything = {("embed",)} | {("mlp", i) for i in range(n)} | {("head", i, j) for i in range(n) for j in range(h)}
    rows = []
    for metric, clean, corrupted in zip(pairs.metrics, pairs.clean, pairs.counterpart, strict=True):
        values = values_of(model, corrupted)
        rows.append([m_of(model, metric, clean, values, some) for some in (kept, set(), everything)])
    own, empty, whole = np.array(rows).mean(0)
    return (own - empty) / (whole - empty)
