"""Figures of a basis, plainly: loops over rows, units and concepts. Letters: E, D rows that read and write, f, x̂."""

import itertools

import numpy as np
import torch

from patchclamp.subjects.corpora import read_corpus


def rows(recording):
    return np.asarray(next(iter(recording.values.values())), np.float64)


def code(basis, x):
    """Return f of one row: of (x − b) Eᵀ + b_enc the k largest that are positive."""
    a = (x - basis.decoder_bias) @ basis.encoder.T + basis.encoder_bias
    f = np.zeros(len(a))
    best = np.argsort(-a, kind="stable")[: basis.k]
    f[best] = np.maximum(a[best], 0)
    return f


def explained_variance(recording, basis, options):
    """Return 1 − Σ ‖x − x̂‖² / Σ ‖x − x̄‖² of a TopK basis."""
    x = rows(recording)
    missed = sum(((one - code(basis, one) @ basis.decoder - basis.output_bias) ** 2).sum() for one in x)
    return [1 - missed / ((x - x.mean(0)) ** 2).sum()]


def feature_recovery(basis, planted, options):
    """Return the mean |cos| of planted directions under the best matching, improved by exchanges until none helps."""
    unit = [b.decoder / np.linalg.norm(b.decoder, axis=1, keepdims=True) for b in (planted, basis)]
    cosines = np.abs(unit[0].astype(float) @ unit[1].astype(float).T)
    n, m = cosines.shape
    # Bellman's auction: each planted direction bids for a unit until all have one; exact as ε n is below any gap.
    size, epsilon = max(n, m), 1e-7
    worth = np.zeros((size, size))
    worth[:n, :m] = cosines
    prices, owner, of = np.zeros(size), np.full(size, -1), np.full(size, -1)
    while (of < 0).any():
        i = int(np.flatnonzero(of < 0)[0])
        gain = worth[i] - prices
        j = int(gain.argmax())
        second = np.partition(gain, -2)[-2]
        prices[j] += gain[j] - second + epsilon
        if owner[j] >= 0:
            of[owner[j]] = -1
        owner[j], of[i] = i, j
    return [sum(worth[i, of[i]] for i in range(n)) / n]


def concept_auroc(recording, basis, concepts, options):
    """Return the mean over concepts of the AUROC, on odd stimuli, of the unit that is best on even ones."""
    f = np.array([code(basis, one) for one in rows(recording)])
    true, even = (
        rows(concepts) > 0,
        np.repeat(np.arange(len(recording.stimuli)), [len(s) for s in recording.stimuli]) % 2 == 0,
    )

    def area(values, labels):
        different, place = np.unique(values, return_inverse=True)
        up, down = (np.bincount(place[side], minlength=len(different)) for side in (labels, ~labels))
        below = np.concatenate([[0], list(itertools.accumulate(down))[:-1]])
        return (up * (below + down / 2)).sum() / (up.sum() * down.sum())

    found = []
    for c in range(true.shape[1]):
        best = max(range(f.shape[1]), key=lambda u: area(f[even, u], true[even, c]))
        found.append(area(f[~even, best], true[~even, c]))
    return [np.mean(found)]


def loss_recovered(subject, corpus, basis, options):
    """Return (CE at the mean − CE at x̂) / (CE at the mean − CE) over odd stimuli, one at a time, by a plain hook."""
    shown = [one for [one] in read_corpus(subject, corpus, batch_size=1)]
    module, site = subject.module.get_submodule("transformer.h.2"), basis.site

    def values(one):
        return subject.run([one], record=[site], logits=False).recording[site]

    mean = torch.cat([values(one)[torch.from_numpy(one.counted)] for one in shown[::2]]).mean(0)

    def written(y):
        return torch.stack(
            [torch.from_numpy(code(basis, r) @ basis.decoder + basis.output_bias).float() for r in y.numpy()]
        )

    def entropy(change):
        total = 0.0
        for one in shown[1::2]:
            first = int(one.counted.argmax())

            def hook(_module, _inputs, out, first=first):
                y = out[0] if isinstance(out, tuple) else out
                new = torch.cat([y[:, :first], change(y[0, first:])[None]], 1)
                return (new, *out[1:]) if isinstance(out, tuple) else new

            handle = module.register_forward_hook(hook)
            with torch.no_grad():
                p = subject.module(torch.from_numpy(one.ids)[None]).logits[0].log_softmax(-1)
            handle.remove()
            total -= sum(float(p[t - 1, one.ids[t]]) for t in range(1, len(one.ids)) if one.counted[t])
        return total

    floor = entropy(lambda y: mean.expand_as(y))
    return [(floor - entropy(written)) / (floor - entropy(lambda y: y))]
