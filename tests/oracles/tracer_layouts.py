"""Coders of circuit-tracer, dictionary_learning and old sparsify, one vector and one unit at a time."""

import math

from oracles.layouts import decoded, dot, largest, norm


def transcoder(t, x, *, k=None):
    """f and x̂ of one layer of a set; ``t`` holds the file's tensors."""
    a = [dot(x, row) + float(b) for row, b in zip(t["W_enc"], t["b_enc"], strict=True)]
    cut = t.get("activation_function.threshold")
    f = [v if v > cut[i] else 0.0 for i, v in enumerate(a)] if cut is not None else [max(v, 0) for v in a]
    f = f if k is None else largest(a, k)
    out = decoded(f, t["W_dec"], t["b_dec"])
    return f, [o + dot(row, x) for o, row in zip(out, t["W_skip"], strict=True)] if "W_skip" in t else out


def cross_layer(layers, xs):
    """f of every layer and x̂ at every layer; ``layers`` holds the tensors of each, ``xs`` what each reads."""
    codes, outs = [], [[float(b) for b in t["b_dec"]] for t in layers]
    for i, (t, x) in enumerate(zip(layers, xs, strict=True)):
        a = [dot(x, row) + float(b) for row, b in zip(t["W_enc"], t["b_enc"], strict=True)]
        codes.append([v if v > cut else 0.0 for v, cut in zip(a, t["threshold"], strict=True)])
        for unit, f in enumerate(codes[-1]):
            for j in range(i, len(layers)):
                for column in range(len(outs[j])):
                    outs[j][column] += f * float(t["W_dec"][unit][j - i][column])
    return codes, outs


def gated(t, x):
    """dictionary_learning's GatedAutoEncoder."""
    u = [float(v) - float(b) for v, b in zip(x, t["decoder_bias"], strict=True)]
    columns, pi = list(zip(*t["decoder.weight"], strict=True)), [dot(u, row) for row in t["encoder.weight"]]
    f = [
        norm(columns[i]) * max(math.exp(t["r_mag"][i]) * v + float(t["mag_bias"][i]), 0)
        if v + float(t["gate_bias"][i]) > 0
        else 0.0
        for i, v in enumerate(pi)
    ]
    return f, decoded([v / norm(columns[i]) for i, v in enumerate(f)], columns, t["decoder_bias"])


def linear(t, x, *, taken=None, added, k=None, cut=None):
    """dictionary_learning's coders of two linear maps: ``taken`` and ``added`` name the biases."""
    u = list(x) if taken is None else [float(v) - float(b) for v, b in zip(x, t[taken], strict=True)]
    a = [max(dot(u, row) + float(b), 0) for row, b in zip(t["encoder.weight"], t["encoder.bias"], strict=True)]
    f = largest(a, k) if k else [v if cut is None or v > cut else 0.0 for v in a]
    return f, decoded(f, list(zip(*t["decoder.weight"], strict=True)), t[added])


def signed(cfg, t, x):
    """Sparsify with ``signed``: the k of a largest by size."""
    u = [float(v) - float(b) for v, b in zip(x, t["b_dec"], strict=True)]
    a = [dot(u, row) + float(b) for row, b in zip(t["encoder.weight"], t["encoder.bias"], strict=True)]
    kept = sorted(range(len(a)), key=lambda i: -abs(a[i]))[: cfg["k"]]
    f = [v if i in kept else 0.0 for i, v in enumerate(a)]
    return f, decoded(f, t["W_dec"], t["b_dec"])
