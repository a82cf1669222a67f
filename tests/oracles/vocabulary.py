"""Vocabulary decoding neuron by neuron: p_i = softmax(W_U norm(w_i)), weights taken from the modules themselves."""

import torch


def gate_sign(subject, task, layer, n):
    """Return the sign of the mean of φ(gate) of one neuron over all tokens but the first (BOS)."""
    act, up, gates = f"blocks.{layer}.mlp.act", f"blocks.{layer}.mlp.up", []
    for case in task.cases:
        run = subject.run(case.shown, record=[act, up], logits=False).recording
        gates += [(a / b).item() for a, b in zip(run[act][1:, n], run[up][1:, n], strict=True) if abs(b) > 1e-6]
    return torch.tensor(sum(gates)).sign()


def vocabulary(subject, options, task=None):
    """Return p of every neuron's likeliest tokens, special ones aside, neuron by neuron; 0 where w is zero."""
    family, found = subject.family, []
    norm, head = subject.module.get_submodule(family.final), subject.module.get_output_embeddings()
    gated = "mlp.up" in family.block
    for i, block in enumerate(family.layers(subject.module)):
        down = block.get_submodule(family.block["mlp.act"].module)
        w_down = down.weight.T if isinstance(down, torch.nn.Linear) else down.weight  # (neuron, d_model)
        into = block.get_submodule(family.block["mlp.up" if gated and options.side == "read" else "mlp.pre"].module)
        w_in = into.weight if isinstance(into, torch.nn.Linear) else into.weight.T  # (neuron, d_model)
        before = block.get_submodule(family.entry_norms[-1])
        for n in range(len(w_down)):
            w = w_down[n] if options.side == "write" else w_in[n] * family.gain(before)
            w = w - w.mean() if options.side != "write" and isinstance(before, torch.nn.LayerNorm) else w
            w = w * gate_sign(subject, task, i, n) if task and gated and options.side != "gate" else w
            w = -w if options.negative else w
            z = head(norm(w[None]) - norm(torch.zeros_like(w[None])))[0].double()
            z[list(subject.tokenizer.special)] = -torch.inf
            p = torch.softmax(z, 0).sort(descending=True).values[: options.tokens]
            found.append(p if w.any() else torch.zeros_like(p))
    return torch.stack(found).detach().numpy().ravel()
