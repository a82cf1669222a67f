"""Scorers of descriptions, window by window and token by token, in the letters of 2410.13928."""

import math

import numpy as np
import torch

from patchclamp.core.exemplars import ACTIVE, KINDS, NEGATIVE
from patchclamp.core.intervention import change
from patchclamp.describe.judge import Window


def units(subject, exemplars, descriptions):
    """Yield for each unit its number, text, and rows in which it fires (the weakest first) and in which it does not."""
    for place in range(len(descriptions)):
        unit = descriptions.index.unit(place).index
        rows = [r for r in range(len(exemplars)) if exemplars.unit[r] == unit]
        active = [r for r in rows if KINDS[exemplars.kind[r]] in ACTIVE]
        active = sorted(active, key=lambda r: exemplars.value[r])
        yield place, descriptions.text(place), active, [r for r in rows if KINDS[exemplars.kind[r]] in NEGATIVE]


def window(subject, exemplars, row):
    return Window(tuple(subject.answer_name(i) for i in exemplars[row].ids))


def generator(descriptions, place):
    """Return the random numbers of a unit with seed 0."""
    return np.random.default_rng([0, *descriptions.index.parts[place].encode()])


def both(answers):
    """Return (TPR + TNR) / 2 and AUROC of answers p with their labels y."""
    one, zero = ([p for p, y in answers if y == label] for label in (1, 0))
    TPR, TNR = sum(p > 0.5 for p in one) / len(one), sum(p <= 0.5 for p in zero) / len(zero)
    return (TPR + TNR) / 2, auroc(one, zero)


def auroc(one, zero):
    return sum((p > q) + (p == q) / 2 for p in one for q in zero) / (len(one) * len(zero))


def detection(subject, exemplars, descriptions, judge, options):
    """Return balanced accuracies, then AUROCs, of one window a call."""
    found = []
    for _, z, active, silent in units(subject, exemplars, descriptions):
        asked = [(row, 1) for row in active] + [(row, 0) for row in silent]
        found.append(both([(judge.fits(z, [window(subject, exemplars, row)])[0], y) for row, y in asked]))
    return np.array(found).T.ravel()


def fuzzing(subject, exemplars, descriptions, judge, options):
    """Return balanced accuracies, then AUROCs; the random marks are drawn as many as ⌈mean⌉, row after row.

    All tokens of its windows count. A neighbour's windows that are marked keep their marks.
    """
    found = []
    for place, z, active, silent in units(subject, exemplars, descriptions):
        rng, answers, counts = generator(descriptions, place), [], []
        for row in active:
            a = exemplars.row_activations(row)
            marks = np.array([x >= 0.3 * max(a) for x in a])
            counts.append(sum(marks))
            answers.append((judge.fits_marked(z, [window(subject, exemplars, row)], [marks])[0], 1))
        n_incorrect = math.ceil(sum(counts) / len(counts))
        for row in silent:
            marks = exemplars.mask(row)
            if KINDS[exemplars.kind[row]] != "neighbour" or not marks.any():
                marks = np.zeros(len(exemplars[row].ids), dtype=bool)
                marks[rng.choice(np.arange(len(marks)), n_incorrect, replace=False)] = True
            answers.append((judge.fits_marked(z, [window(subject, exemplars, row)], [marks])[0], 0))
        found.append(both(answers))
    return np.array(found).T.ravel()


def simulation(subject, exemplars, descriptions, judge, options):
    """Return Pearson's r over all tokens of all windows, written end to end."""
    found = []
    for _, z, active, silent in units(subject, exemplars, descriptions):
        true, predicted = [], []
        for row in [*active, *silent]:
            true += exemplars.row_activations(row).tolist()
            predicted += list(judge.simulate(z, [window(subject, exemplars, row)])[0])
        found.append(np.corrcoef(true, predicted)[0, 1])
    return found


def surprisal(subject, exemplars, descriptions, reader, options):
    """Return AUROC of log p(x | z) − log p(x | "Various unrelated sentences.")."""
    found = []
    for _, z, active, silent in units(subject, exemplars, descriptions):
        parts = []
        for rows in (active, silent):
            texts = [window(subject, exemplars, row).text for row in rows]
            pairs = [[(z, x), ("Various unrelated sentences.", x)] for x in texts]
            parts.append([a - b for a, b in (reader.log_likelihoods(pair) for pair in pairs)])
        found.append(auroc(*parts))
    return found


def embedding(subject, exemplars, descriptions, encoder, options):
    """Return AUROC of the cosine between a description and each window."""
    used = sorted(set(exemplars.stimulus.tolist()))
    row_of = {s: exemplars.stimulus.tolist().index(s) for s in used}
    e = dict(zip(used, encoder.encode([window(subject, exemplars, row_of[s]).text for s in used]), strict=True))
    found = []
    for _, z, active, silent in units(subject, exemplars, descriptions):
        [q] = encoder.encode([z], query=True)
        parts = [[cosine(q, e[int(exemplars.stimulus[row])]) for row in rows] for rows in (active, silent)]
        found.append(auroc(*parts))
    return found


def cosine(a, b):
    size = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
    return round(sum(x * y for x, y in zip(a, b, strict=True)) / size, 12) if size else 0.0


def intruder(subject, exemplars, descriptions, chooser, options):
    """Return the share of rounds in which the intruder among five windows is found."""
    found = []
    for place, _, active, silent in units(subject, exemplars, descriptions):
        rng, hits, q = generator(descriptions, place), [], min(10, len(active) // 4)
        for turn in range(20):
            rows = rng.choice(np.array_split(active, q)[turn % q], 4, replace=False).tolist()
            marks = []
            for row in rows:
                a = exemplars.row_activations(row)
                marks.append(np.array([x >= 0.3 * max(a) for x in a]))
            odd, strange = int(rng.integers(5)), int(rng.choice(silent))
            other = np.zeros(len(exemplars[strange].ids), dtype=bool)
            n = math.ceil(sum(sum(one) for one in marks) / 4)
            other[rng.choice(np.arange(len(other)), n, replace=False)] = True
            rows.insert(odd, strange)
            marks.insert(odd, other)
            hits.append(chooser.choose_odd([window(subject, exemplars, row) for row in rows], marks) == odd)
        found.append(sum(hits) / len(hits))
    return found


def intervention(subject, exemplars, descriptions, reader, options):
    """Return S at the least clamp c with mean KL σ, by halving, for each unit."""
    found = []
    for place, z, active, silent in units(subject, exemplars, descriptions):
        drawn = sorted(generator(descriptions, place).choice(silent, min(options.prompts, len(silent)), replace=False))
        x = [list(exemplars[int(row)].ids[: options.opening]) for row in drawn]
        high = max(float(max(exemplars.value[row] for row in active)), 1e-3)
        found.append(effect(subject, descriptions.index.unit(place), z, x, high, reader, options))
    return found


def effect(subject, key, z, x, high, reader, options):
    """Return S = E[log p(z | G_I(x)) − log p(z | G(x))]."""

    def log_p(c):
        on = [] if c is None else [change("set", key.site, key.index, value=c)]
        return [torch.log_softmax(subject.run([one], interventions=on).logits[0].double(), -1) for one in x]

    def kl(c):
        each = [(p.exp() * (p - q)).sum(-1) for p, q in zip(log_p(c), log_p(None), strict=True)]
        return torch.cat(each).mean().item()

    low, most = 0.0, 2**10 * high
    while kl(high) < options.sigma and high < most:
        low, high = high, 2 * high
    for _ in range(12):
        c = (low + high) / 2
        low, high = (low, c) if kl(c) >= options.sigma else (c, high)
    told = []
    for on in ([], [change("set", key.site, key.index, value=high)]):
        made = subject.generate(x, interventions=on, max_new_tokens=options.new, temperature=1.0, seed=0)
        told.append([reader.log_likelihoods([(f"{g.text}\nThis text is about:", z)])[0] for g in made])
    return sum(b - a for a, b in zip(*told, strict=True)) / len(x)
