"""Sparse coders of three libraries, one vector and one unit at a time, as their formulas are published."""

import math


def dot(u, v):
    return sum(float(a) * float(b) for a, b in zip(u, v, strict=True))


def decoded(f, w_dec, b_dec):
    return [float(b) + sum(f[i] * float(w_dec[i][j]) for i in range(len(f))) for j, b in enumerate(b_dec)]


def largest(a, k):
    order = sorted(range(len(a)), key=lambda i: -a[i])[:k]
    return [max(a[i], 0.0) if i in order else 0.0 for i in range(len(a))]


def norm(v):
    return math.sqrt(dot(v, v))


def saelens(cfg, t, x):
    """f and x̂ of one vector; ``t`` holds the file's tensors."""
    kind = cfg["architecture"]
    taken = cfg["apply_b_dec_to_input"] and "transcoder" not in kind
    u = [float(v) - float(b) for v, b in zip(x, t["b_dec"], strict=True)] if taken else [float(v) for v in x]
    n = len(t["W_dec"])
    pre = [dot(u, [row[i] for row in t["W_enc"]]) for i in range(n)]
    w_dec = [[float(v) for v in row] for row in t["W_dec"]]
    if kind == "gated":
        f = [
            max(math.exp(t["r_mag"][i]) * pre[i] + float(t["b_mag"][i]), 0) if pre[i] + t["b_gate"][i] > 0 else 0
            for i in range(n)
        ]
    else:
        a = [pre[i] + float(t["b_enc"][i]) for i in range(n)]
        if cfg.get("rescale_acts_by_decoder_norm"):
            sizes = [norm(row) for row in w_dec]
            a = [v * s for v, s in zip(a, sizes, strict=True)]
            w_dec = [[v / s for v in row] for row, s in zip(w_dec, sizes, strict=True)]
        if kind == "topk":
            f = largest(a, cfg["k"])
        elif "jumprelu" in kind:
            f = [max(v, 0) if v > t["threshold"][i] else 0 for i, v in enumerate(a)]
        else:
            f = [max(v, 0) for v in a]
    out = decoded(f, w_dec, t["b_dec"])
    if "W_skip" in t:
        out = [o + dot(row, x) for o, row in zip(out, t["W_skip"], strict=True)]
    return f, out


def sparsify(cfg, t, x):
    u = list(x) if cfg["transcode"] else [float(v) - float(b) for v, b in zip(x, t["b_dec"], strict=True)]
    a = [max(dot(u, row) + float(b), 0) for row, b in zip(t["encoder.weight"], t["encoder.bias"], strict=True)]
    f = largest(a, cfg["k"])
    out = decoded(f, t["W_dec"], t["b_dec"])
    if "W_skip" in t:
        out = [o + dot(row, x) for o, row in zip(out, t["W_skip"], strict=True)]
    return f, out


def gemma_scope(t, x):
    a = [dot(x, [row[i] for row in t["W_enc"]]) + float(t["b_enc"][i]) for i in range(len(t["b_enc"]))]
    f = [max(v, 0) if v > t["threshold"][i] else 0 for i, v in enumerate(a)]
    return f, decoded(f, t["W_dec"], t["b_dec"])
