"""Semi-NMF term by term, in the letters of arXiv 2506.10920: A ≈ F Gᵀ, slow and plain."""

import math

import numpy as np


def factorise(A, G, p, iterations):
    """Return F, G and the loss of the best iterate, and the losses of all of them."""
    d, _ = A.shape
    k = G.shape[1]
    best, losses = (None, None, np.inf), []
    for _ in range(iterations):
        F = A @ G @ np.linalg.inv(G.T @ G + 1e-6 * np.eye(k))
        for j in range(k):
            weakest = np.argsort(-np.abs(F[:, j]), kind="stable")[math.ceil(p * d) :]
            F[weakest, j] = 0
        for j in range(k):
            length = np.linalg.norm(G[:, j])
            G[:, j] /= length
            F[:, j] *= length
        P, Q = A.T @ F, F.T @ F
        G = G * np.sqrt((plus(P) + G @ minus(Q)) / (minus(P) + G @ plus(Q) + 1e-6))
        losses.append(np.linalg.norm(A - F @ G.T) ** 2)
        if losses[-1] < best[2]:
            best = F.copy(), G.copy(), losses[-1]
    return *best, losses


def plus(X):
    return (np.abs(X) + X) / 2


def minus(X):
    return (np.abs(X) - X) / 2


def snmf(recording, options):
    """Return the features at length 1, from codes drawn between 0 and 1."""
    A = np.asarray(next(iter(recording.values.values())), np.float64).T
    G = np.maximum(np.random.default_rng(0).uniform(size=(A.shape[1], options.n_features)), 1e-6)
    F, *_ = factorise(A, G, options.sparsity, options.max_iter)
    return (F / np.linalg.norm(F, axis=0)).T
