"""How a basis is judged, one token at a time, by the definitions."""

import itertools
import math

import numpy as np
import torch

from patchclamp.core.intervention import Intervention


def area(scores, labels):
    """P(s+ > s−) + P(s+ = s−) / 2, pair by pair."""
    up, down = (
        [s for s, t in zip(scores, labels, strict=True) if t],
        [s for s, t in zip(scores, labels, strict=True) if not t],
    )
    return sum((u > d) + (u == d) / 2 for u in up for d in down) / (len(up) * len(down))


def best_match(a, b):
    """The largest sum of |cos| over all ways to pair the rows of a with rows of b."""
    cos = [[abs(u @ v) / (np.linalg.norm(u) * np.linalg.norm(v)) for v in b] for u in a]
    return max(sum(cos[i][j] for i, j in enumerate(way)) for way in itertools.permutations(range(len(b)), len(a)))


def largest(a, k):
    order = sorted(range(len(a)), key=lambda i: -a[i])[:k]
    return [max(a[i], 0.0) if i in order else 0.0 for i in range(len(a))]


def judged(model, site, basis, shown):
    """FVU, L0, dead share, cross-entropies and their ratios of a topk basis without biases, on the odd stimuli."""

    def values(stimulus):
        return model.run([stimulus], record=site, logits=False).recording[site].double().numpy()[1:]

    fitted, odd = shown[::2], shown[1::2]
    mean = np.concatenate([values(s) for s in fitted]).mean(0)
    x = np.concatenate([values(s) for s in odd])
    f = np.array([largest((basis.encoder.astype(float) @ row).tolist(), basis.k) for row in x])
    guess = f @ basis.decoder.astype(float)
    unexplained = sum(((a - b) ** 2).sum() for a, b in zip(x, guess, strict=True)) / sum(
        ((a - x.mean(0)) ** 2).sum() for a in x
    )

    def put(what):
        def fn(old):
            rows = []
            for row in old.double().numpy():
                code = largest((basis.encoder.astype(float) @ row).tolist(), basis.k)
                said = {"hat": np.array(code) @ basis.decoder.astype(float), "mean": mean, "zero": 0 * mean}
                rows.append(said[what])
            return torch.tensor(np.array(rows), dtype=old.dtype)

        return [Intervention(site, "call", at=None, fn=fn)]

    def loss(what):
        total, n = 0.0, 0
        for stimulus in odd:
            interventions = [] if what == "clean" else [_after_first(i) for i in put(what)]
            logits = model.run([stimulus], interventions=interventions).logits[0].double()
            for t in range(1, len(stimulus)):
                row = logits[t - 1].tolist()
                top = max(row)
                total += math.log(sum(math.exp(v - top) for v in row)) + top - row[int(stimulus.ids[t])]
                n += 1
        return total / n

    clean, hat, held, zero = (loss(what) for what in ("clean", "hat", "mean", "zero"))
    return {
        "unexplained": unexplained, "active": (f != 0).sum(1).mean(), "dead": 1 - (f != 0).any(0).mean(),
        "clean": clean, "loss": hat, "recovered": share(held, hat, clean), "recovered_zero": share(zero, hat, clean),
    }  # fmt: skip


def share(floor, said, clean):
    """Of what is lost at the floor; undefined where nothing is lost there."""
    return (floor - said) / (floor - clean) if floor > clean else math.nan


def _after_first(intervention):
    """Everywhere but at the first token, which is special."""
    from patchclamp.core.intervention import spans

    return Intervention(intervention.site, "call", at=spans("1:"), fn=intervention.fn)
