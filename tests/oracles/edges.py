"""GPT-2 and Llama written out, with a reading of the stream for every query, key, value, MLP and for the logits."""

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


def run_llama(module, embedded, read, *, own_keys=False):
    """Return the same of a Llama: heads of a group share one key and value, which are one reader each.

    With ``own_keys`` every head reads a key and a value of its own, made by its group's weights, as papers count edges.
    """
    T, config = len(embedded), module.config
    d_head, share = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    turn = module.model.rotary_emb(embedded[None], torch.arange(T)[None])
    cos, sin = (part[0].to(embedded) for part in turn)
    mask = torch.full((T, T), -torch.inf, dtype=embedded.dtype).triu(1)
    stream, writes = embedded, {"embed/whole/0": embedded}

    def rotated(x):
        half = torch.cat([-x[:, d_head // 2 :], x[:, : d_head // 2]], 1)
        return x * cos + half * sin

    for l, block in enumerate(module.model.layers):
        attention, written = block.self_attn, {}
        weights = {"q": attention.q_proj.weight, "k": attention.k_proj.weight, "v": attention.v_proj.weight}

        def made(slot, h, own, l=l, block=block, weights=weights, stream=stream, writes=writes):
            rows = slice(own * d_head, (own + 1) * d_head)
            x = read(f"blocks.{l}.attn.{slot}/heads/{h}", stream, writes)
            return block.input_layernorm(x) @ weights[slot][rows].T

        named = range(config.num_attention_heads if own_keys else config.num_key_value_heads)
        keys, values = ([made(slot, h, h // share if own_keys else h) for h in named] for slot in "kv")
        for h in range(config.num_attention_heads):
            q, k, v = made("q", h, h), *(x[h if own_keys else h // share] for x in (keys, values))
            pattern = (rotated(q) @ rotated(k).T / d_head**0.5 + mask).softmax(-1)
            W_O = attention.o_proj.weight[:, h * d_head : (h + 1) * d_head]
            written[f"blocks.{l}.attn.z/heads/{h}"] = pattern @ v @ W_O.T
        writes = writes | written
        stream = stream + sum(written.values())
        x = block.mlp(block.post_attention_layernorm(read(f"blocks.{l}.mlp.pre/whole/0", stream, writes)))
        writes = writes | {f"blocks.{l}.mlp.write/whole/0": x}
        stream = stream + x
    return module.lm_head(module.model.norm(read("final/whole/0", stream, writes)))[-1], writes


# -- attribution as papers write it: E(u → v) = (u(other) − u(here)) · ∂m/∂(input of v) at ``here`` --------------------


def slopes(run, module, embedded, m):
    """Return m's gradient at what every reader reads, ``(position, d_model)``, in the run from some embeddings."""
    leaves = {}

    def read(v, stream, writes):
        leaves[v] = torch.zeros_like(stream, requires_grad=True)
        return stream + leaves[v]

    value = m(run(module, embedded, read)[0])
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return {v: torch.zeros_like(x) if g is None else g for (v, x), g in zip(leaves.items(), found, strict=True)}


def written_by(run, module, embedded):
    """Return what every writer writes."""
    with torch.no_grad():
        return run(module, embedded, lambda v, stream, writes: stream)[1]


def eap(run, module, here, other, m, edges, *, backward=None):
    """Return m(here) − m(here with the edge as in ``other``), to first order, for every edge; ``backward``: RelP's."""
    own, theirs = (written_by(run, module, x) for x in (here, other))
    at = slopes(run, backward or module, here, m)
    return torch.stack([((own[u] - theirs[u]) * at[v]).sum() for u, v in edges])


def eap_ig(run, module, clean, corrupted, m, edges, points):
    """Return the same, the gradient a mean over authors’ points: corrupted + k / n (clean − corrupted), k = 1 … n."""
    own, theirs = (written_by(run, module, x) for x in (clean, corrupted))
    total = 0.0
    for k in range(1, points + 1):
        at = slopes(run, module, corrupted + k / points * (clean - corrupted), m)
        total = total + torch.stack([((own[u] - theirs[u]) * at[v]).sum() for u, v in edges])
    return total / points
