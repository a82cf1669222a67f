"""What evidence says of one unit, in plain loops: from all its activations, window by window."""

import math
from collections import Counter
from itertools import pairwise


def levels(windows, training, repeated, share, side="larger"):
    """Sign, firing and silence of a unit whose counted activations are ``windows[number]``, a list each.

    Tokens of repeated windows count in the mean as often as the text has them.
    """
    tokens = [a for number in [*training, *repeated] for a in windows[number]]
    mean = math.fsum(tokens) / len(tokens)
    up, down = max(tokens) - mean, mean - min(tokens)
    sign = {"positive": 1, "negative": -1}.get(side, -1 if down > up else 1)
    rise = down if sign < 0 else up
    maxima = sorted(max(sign * a for a in windows[number]) for number in training)
    fires = max(sign * mean + share * rise, maxima[len(maxima) // 2])
    silent = max(sign * mean + share / 2 * rise, maxima[len(maxima) // 20])
    return sign, fires, silent


def alike(texts, few):
    """Cosine of every text, a list of tokens, with the mean of a few of them, as tf–idf vectors."""
    found = Counter(token for text in texts for token in set(text))

    def vector(text):
        raw = {t: n * math.log((1 + len(texts)) / (1 + found[t])) for t, n in Counter(text).items()}
        norm = math.sqrt(math.fsum(v * v for v in raw.values())) or 1
        return {t: v / norm for t, v in raw.items()}

    query = Counter()
    for number in few:
        query.update(vector(texts[number]))
    norm = math.sqrt(math.fsum(v * v for v in query.values())) or 1
    return [math.fsum(v * query[t] for t, v in vector(text).items()) / norm for text in texts]


def jaccard(one, other):
    """Both over either, of two sets."""
    return len(one & other) / len(one | other) if one | other else 0


def firing(windows, number, sign, fires, counted):
    """Whether a unit with counted activations ``windows[number]`` fires at each token of a window."""
    own = iter(windows[number])
    return [sign * next(own) >= fires if counts else False for counts in counted]


def tenths(ordered):
    """Ten parts of a list whose counts differ by one at most, the larger first."""
    size, larger = divmod(len(ordered), 10)
    cuts = [0]
    for i in range(10):
        cuts.append(cuts[-1] + size + (i < larger))
    return [ordered[a:b] for a, b in pairwise(cuts)]
