"""What attention heads attend to and write, slowly: whole patterns in plain loops, weights in plain products."""

import torch


def patterns(model, stimulus):
    """The pattern of every block, ``(head, target, source)``, as transformers returns it."""
    module = model.module
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            output = module(input_ids=torch.from_numpy(stimulus.ids.astype("int64"))[None], output_attentions=True)
    finally:
        module.set_attn_implementation(before)
    return [layer[0].double() for layer in output.attentions]


def shares_and_pairs(shown, layer, head, causal=True):
    """Shares by name, and (source, target) to the weights with which source is the target's strongest."""
    sums = dict.fromkeys(("first", "itself", "previous", "next", "same"), 0.0)
    pairs, n = {}, 0
    for stimulus, whole in shown:
        pattern, ids = whole[layer][head], stimulus.ids.tolist()
        for target in range(1, len(ids)):
            if not stimulus.counted[target]:
                continue
            n += 1
            for source in range(target + 1 if causal else len(ids)):
                weight = float(pattern[target, source])
                if source == 0:
                    sums["first"] += weight
                elif source == target:
                    sums["itself"] += weight
                elif source == target - 1:
                    sums["previous"] += weight
                elif source == target + 1:
                    sums["next"] += weight
                elif ids[source] == ids[target]:
                    sums["same"] += weight
            others = [s for s in range(1, target if causal else len(ids)) if s != target]
            if others:
                best = max(others, key=lambda source: float(pattern[target, source]))
                if float(pattern[target, best]) >= 1e-3:
                    pairs.setdefault((ids[best], ids[target]), []).append(float(pattern[target, best]))
    return {name: x / n for name, x in sums.items()}, pairs, n


def _normed(norm, x):
    """A norm written out."""
    eps = getattr(norm, "variance_epsilon", None) or getattr(norm, "eps", 0.0)
    if isinstance(norm, torch.nn.LayerNorm):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight


def gpt2_head(module, layer, head):
    """W_Q, W_K, W_V ``(d_head, d_model)`` and their biases, W_O ``(d_model, d_head)``, and the norms, of a GPT-2."""
    block = module.transformer.h[layer]
    d, n = module.config.n_embd, module.config.n_head
    own = slice(head * d // n, (head + 1) * d // n)
    weights = [w.T[own] for w in block.attn.c_attn.weight.split(d, dim=1)]
    biases = [b[own] for b in block.attn.c_attn.bias.split(d)]
    return weights, biases, block.attn.c_proj.weight[own].T, block.ln_1, module.transformer.ln_f


def llama_head(module, layer, head):
    """The same of a Llama, whose query heads share keys and values."""
    block, config = module.model.layers[layer], module.config
    size = config.hidden_size // config.num_attention_heads
    shared = head // (config.num_attention_heads // config.num_key_value_heads)
    own, kv = slice(head * size, (head + 1) * size), slice(shared * size, (shared + 1) * size)
    attention = block.self_attn
    weights = [attention.q_proj.weight[own], attention.k_proj.weight[kv], attention.v_proj.weight[kv]]
    return weights, [0.0, 0.0, 0.0], attention.o_proj.weight[:, own], block.input_layernorm, module.model.norm


def written_logits(module, parts):
    """W_E W_V W_O W_U of a head, every token by every token: norms' gains in, biases and each row's mean taken off."""
    (_, _, W_V), _, W_O, before, after = parts
    embedded = module.get_input_embeddings().weight
    written = _normed(before, embedded) @ W_V.T @ W_O.T
    if isinstance(after, torch.nn.LayerNorm):
        written = written - written.mean(-1, keepdim=True)
    logits = (written * after.weight) @ module.get_output_embeddings().weight.T
    return (logits - logits.mean(1, keepdim=True)).detach()


def matched(module, parts):
    """q · k of every target by every source token, each target's mean taken off, of embeddings without positions."""
    (W_Q, W_K, _), (b_Q, b_K, _), _, before, _ = parts
    x = _normed(before, module.get_input_embeddings().weight)
    x = x + (before.bias if isinstance(before, torch.nn.LayerNorm) else 0.0)
    return ((x @ W_Q.T + b_Q) @ (x @ W_K.T + b_K).T / W_Q.shape[0] ** 0.5).detach()


def read_units(module, parts, directions):
    """How much queries and keys read of each direction at unit length, and of the same together: plain products."""
    (W_Q, W_K, _), _, _, before, _ = parts
    rows = directions / directions.norm(dim=1, keepdim=True)
    if isinstance(before, torch.nn.LayerNorm):
        rows = rows - rows.mean(1, keepdim=True)
    rows = rows * before.weight
    return {"query_reads": (rows @ W_Q.T).norm(dim=1).detach(), "key_reads": (rows @ W_K.T).norm(dim=1).detach()}
