"""Baselines of a dictionary, plainly: principal components by singular vectors, and random directions one by one."""

import numpy as np


def pca(recording, options):
    """Return the right singular vectors of centred activations, the largest entry of each positive."""
    X = np.asarray(next(iter(recording.values.values())), np.float64)
    _, _, V = np.linalg.svd(X - X.mean(0), full_matrices=False)
    return np.array([v if v[np.abs(v).argmax()] > 0 else -v for v in V[: options.n_features]])


def random(recording, options):
    """Return normal directions at length 1."""
    draw, width = np.random.default_rng(0), next(iter(recording.sites.values())).width
    rows = [draw.normal(size=width) for _ in range(options.n_features)]
    return np.array([row / np.linalg.norm(row) for row in rows])
