"""Vocabulary decoding head by head: W_V and W_O from the modules themselves, their whole product, NumPy's SVD."""

import numpy as np
import torch


def matrices(subject, i):
    """Return γ W_V and W_O of a block, ``(d_model, width)`` and ``(width, d_model)``, values once per query head."""
    block, config = subject.family.layers(subject.module)[i], subject.module.config
    if config.model_type == "gpt2":
        d, norm = config.n_embd, block.ln_1
        w_v, w_o = block.attn.c_attn.weight[:, 2 * d :], block.attn.c_proj.weight
        w_v = norm.weight[:, None] * w_v
        return w_v - w_v.mean(0), w_o
    attention, norm = block.self_attn, block.input_layernorm
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    w_v = norm.weight[:, None] * attention.v_proj.weight.T
    w_v = w_v.unflatten(1, (shared, -1)).repeat_interleave(heads // shared, 1).flatten(1)
    return w_v, attention.o_proj.weight.T


def head_vocabulary(subject, options, task=None):
    """Return p of every head's likeliest tokens, special ones aside, head by head."""
    family, found = subject.family, []
    norm, head = subject.module.get_submodule(family.final), subject.module.get_output_embeddings()

    def p_of(w):
        z = head(norm(w[None]) - norm(torch.zeros_like(w[None])))[0].double()
        z[list(subject.tokenizer.special)] = -torch.inf
        return torch.softmax(z, 0).sort(descending=True).values[: options.tokens]

    for i in range(len(family.layers(subject.module))):
        site = subject.site(f"blocks.{i}.attn.z")
        w_v, w_o = (x.detach().double().numpy() for x in matrices(subject, i))
        size = site.width // site.n_heads
        for h in range(site.n_heads):
            part = slice(h * size, (h + 1) * size)
            left, sizes, right = np.linalg.svd(w_v[:, part] @ w_o[part])
            k = options.direction - 1
            read, write = left[:, k], right[k]
            if task is None:
                sign = 1 if p_of(torch.tensor(write).float())[0] >= p_of(torch.tensor(-write).float())[0] else -1
            else:
                total = 0.0
                for case in task.cases:
                    z = subject.run(case.shown, record=[site.path], logits=False).recording[site.path]
                    total += float((z[1:, part].double().numpy() @ (read @ w_v[:, part])).sum())
                sign = 1 if total >= 0 else -1
            w = torch.tensor(sign * (write if options.side == "write" else read)).float()
            found.append(
                p_of(-w if options.negative else w) if sizes[k] > 1e-5 * sizes[0] else torch.zeros(options.tokens)
            )
    return torch.stack(found).detach().numpy().ravel()
