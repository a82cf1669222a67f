"""GPT-2 written out, with a reading of the residual stream for every query, key, value, MLP and for the logits."""

import torch


def run(module, embedded, read):
    """Return the last logits, every writer's write, and nothing else; one prompt, eager, as the formulas say.

    ``read(v, stream, writes)`` gives what reader v reads: the stream itself, or anything else of its size. The
    embedding is given with positions added; biases of the attention's output are nobody's write.
    """
    T, d = embedded.shape
    d_head = d // module.config.n_head
    mask = torch.full((T, T), -torch.inf, dtype=embedded.dtype).triu(1)
    stream, writes = embedded, {"embed/whole/0": embedded}
    for l, block in enumerate(module.transformer.h):
        W, b, W_O = block.attn.c_attn.weight, block.attn.c_attn.bias, block.attn.c_proj.weight
        written = {}
        for h in range(module.config.n_head):
            made = []
            for s, slot in enumerate("qkv"):
                columns = slice(s * d + h * d_head, s * d + (h + 1) * d_head)
                x = block.ln_1(read(f"blocks.{l}.attn.{slot}/heads/{h}", stream, writes))
                made.append(x @ W[:, columns] + b[columns])
            q, k, v = made
            pattern = (q @ k.T / d_head**0.5 + mask).softmax(-1)
            written[f"blocks.{l}.attn.z/heads/{h}"] = pattern @ v @ W_O[h * d_head : (h + 1) * d_head]
        writes = writes | written
        stream = stream + sum(written.values()) + block.attn.c_proj.bias
        x = block.mlp(block.ln_2(read(f"blocks.{l}.mlp.pre/whole/0", stream, writes)))
        writes = writes | {f"blocks.{l}.mlp.write/whole/0": x}
        stream = stream + x
    return module.lm_head(module.transformer.ln_f(read("final/whole/0", stream, writes)))[-1], writes


def embedded(module, ids):
    """Return the embeddings of one prompt, positions added."""
    return module.transformer.wte(torch.tensor(ids)) + module.transformer.wpe(torch.arange(len(ids)))
