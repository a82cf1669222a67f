"""Representational similarity by the letters of Kriegeskorte et al. (2008), entry by entry."""

import numpy as np
from scipy.stats import rankdata


def rdm(x: np.ndarray, distance: str) -> np.ndarray:
    n = len(x)
    d = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            if distance == "euclidean":
                d[i, j] = np.sqrt(((x[i] - x[j]) ** 2).sum())
            elif distance == "cosine":
                d[i, j] = 1 - (x[i] @ x[j]) / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
            else:
                d[i, j] = 1 - np.corrcoef(x[i], x[j])[0, 1]
    return d


def rsa(first, second, options) -> float:
    """Return Spearman's ρ of two RDMs of means over repeats, below their diagonals; ties have average ranks."""
    rdms = []
    for recording in (first, second):
        [values] = recording.values.values()
        shown = [stimulus.id for stimulus in recording.stimuli]
        x = np.stack([values[[one == name for one in shown]].mean(0) for name in dict.fromkeys(shown)])
        rdms.append(rdm(x, options.distance))
    a, b = (rankdata([d[i, j] for i in range(len(d)) for j in range(i)]) for d in rdms)
    return float(np.corrcoef(a, b)[0, 1])
