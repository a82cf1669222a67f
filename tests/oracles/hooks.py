"""The rig's operations in plain PyTorch: hooks written out, one vector and one unit at a time."""

import torch

# Where the untapped sites lie, read off the models' own source: (module, side).
PLACES = {
    "gpt2": {
        "embed": ("transformer.wte", "out"),
        "blocks.{i}.resid_in": ("transformer.h.{i}", "in"),
        "blocks.{i}.attn.z": ("transformer.h.{i}.attn.c_proj", "in"),
        "blocks.{i}.attn.write": ("transformer.h.{i}.attn", "out"),
        "blocks.{i}.resid_mid": ("transformer.h.{i}.ln_2", "in"),
        "blocks.{i}.mlp.pre": ("transformer.h.{i}.mlp.c_fc", "out"),
        "blocks.{i}.mlp.act": ("transformer.h.{i}.mlp.act", "out"),
        "blocks.{i}.mlp.write": ("transformer.h.{i}.mlp", "out"),
        "blocks.{i}.resid_out": ("transformer.h.{i}", "out"),
        "final": ("lm_head", "in"),
    },
    "llama": {
        "embed": ("model.embed_tokens", "out"),
        "blocks.{i}.resid_in": ("model.layers.{i}", "in"),
        "blocks.{i}.attn.z": ("model.layers.{i}.self_attn.o_proj", "in"),
        "blocks.{i}.attn.write": ("model.layers.{i}.self_attn", "out"),
        "blocks.{i}.resid_mid": ("model.layers.{i}.post_attention_layernorm", "in"),
        "blocks.{i}.mlp.pre": ("model.layers.{i}.mlp.act_fn", "in"),
        "blocks.{i}.mlp.up": ("model.layers.{i}.mlp.up_proj", "out"),
        "blocks.{i}.mlp.act": ("model.layers.{i}.mlp.down_proj", "in"),
        "blocks.{i}.mlp.write": ("model.layers.{i}.mlp", "out"),
        "blocks.{i}.resid_out": ("model.layers.{i}", "out"),
        "final": ("lm_head", "in"),
    },
}


def places(family, n_layers):
    """Return every site's module and side, block by block."""
    return {
        site.format(i=i): (module.format(i=i), side)
        for i in range(n_layers)
        for site, (module, side) in PLACES[family].items()
    }


def hooked(module, path, side, see):
    """Show one tensor to ``see`` on its way; what ``see`` returns takes its place, None leaves it."""

    def after(_module, _args, output):
        new = see(output[0] if isinstance(output, tuple) else output)
        return new if new is None or not isinstance(output, tuple) else (new, *output[1:])

    def before(_module, args, kwargs):
        new = see(args[0] if args else kwargs["hidden_states"])
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    part = module.get_submodule(path)
    if side == "out":
        return part.register_forward_hook(after)
    return part.register_forward_pre_hook(before, with_kwargs=True)


def called(module, ids, logical, hooks=()):
    """Return the logits of one plain forward with ``(path, side, see)`` hooks; padding is where logical is negative."""
    handles = [hooked(module, *hook) for hook in hooks]
    try:
        return module(
            input_ids=ids, attention_mask=(logical >= 0).long(), position_ids=logical.clamp(min=0), use_cache=False
        ).logits
    finally:
        for handle in handles:
            handle.remove()


def operated(x, operation, spots, units, value=None, block=1):
    """Return x ``(batch, column, width)`` with one operation on units, blocks of columns, at ``(row, column)`` spots.

    ``value`` is called with the spot and the unit, and gives what is set, added, multiplied by or put in place.
    """
    y = x.clone()
    for row, column in spots:
        for unit in units:
            part = slice(unit * block, (unit + 1) * block)
            old = y[row, column, part].clone()
            v = torch.as_tensor(0.0 if value is None else value((row, column), unit), dtype=x.dtype)
            new = {"set": v, "patch": v, "ablate": v, "add": old + v, "scale": old * v}[operation]
            y[row, column, part] = new
    return y


def operated_in_basis(x, operation, spots, units, decoder, value=None, b_enc=None, b_dec=None, encoder=None):
    """Return x + Σ_u (f′_u − f_u) D_u at the spots, f = E (x − b_dec) + b_enc, E the pseudo-inverse of D unless given.

    ``project`` takes away the part of x in the span of the units' directions, by Gram and Schmidt.
    """
    D = decoder.to(x.dtype)
    E = torch.linalg.pinv(D).T if encoder is None else encoder.to(x.dtype)
    y = x.clone()
    for row, column in spots:
        old = y[row, column].clone()
        new = old.clone()
        if operation == "project":
            found = []
            for unit in units:
                d = D[unit] - sum((D[unit] @ q) * q for q in found)
                found.append(d / d.norm())
            new -= sum((old @ q) * q for q in found)
        for unit in [] if operation == "project" else units:
            centred = old if b_dec is None else old - b_dec
            f = E[unit] @ centred + (0.0 if b_enc is None else b_enc[unit])
            v = 0.0 if value is None else value((row, column), unit)
            changed = {"set": v, "patch": v, "ablate": v, "add": f + v, "scale": f * v}[operation]
            new += (changed - f) * D[unit]
        y[row, column] = new
    return y


def gradients(module, ids, logical, hooks, measure):
    """Return d measure(logits) / d value for each ``(path, side)``, by ``retain_grad`` in plain hooks."""
    held = {}

    def holding(place):
        def see(x):
            x.retain_grad()
            held[place] = x

        return see

    logits = called(module, ids, logical, [(*place, holding(place)) for place in hooks])
    module.zero_grad()
    measure(logits).sum().backward()
    found = {place: (x.detach(), x.grad) for place, x in held.items()}
    module.zero_grad()
    return found
