"""NMF in the letters of Lee & Seung (1999), V ≈ W H, one coordinate at a time from the parts of singular vectors."""

import numpy as np


def start(V, k):
    """Return W and H: of each pair of singular vectors the larger of the positive and the negative part."""
    U, S, T = np.linalg.svd(V, full_matrices=False)
    W, H = np.zeros((len(V), k)), np.zeros((k, V.shape[1]))
    for j in range(k):
        parts = [(np.maximum(sign * U[:, j], 0), np.maximum(sign * T[j], 0)) for sign in (1, -1)]
        u, t = max(parts, key=lambda part: np.linalg.norm(part[0]) * np.linalg.norm(part[1]))
        if j == 0:
            u, t = np.abs(U[:, 0]), np.abs(T[0])
        size = np.sqrt(S[j] * np.linalg.norm(u) * np.linalg.norm(t))
        W[:, j], H[j] = size * u / np.linalg.norm(u), size * t / np.linalg.norm(t)
    W[W < 1e-6], H[H < 1e-6] = 0, 0
    W[W == 0], H[H == 0] = V.mean(), V.mean()
    return W, H


def descend(W, V, H):
    """Minimise ‖V − W H‖² in each column of W in turn, the others held, W ≥ 0."""
    for t in range(W.shape[1]):
        slope = (W @ H - V) @ H[t]
        W[:, t] = np.maximum(0, W[:, t] - slope / (H[t] @ H[t]))


def nmf(recording, options):
    """Return H after so many iterations, its rows at length 1."""
    V = np.asarray(next(iter(recording.values.values())), np.float64)
    W, H = start(V, options.n_features)
    for _ in range(options.max_iter):
        descend(W, V, H)
        turned = H.T.copy()
        descend(turned, V.T, W.T)
        H = turned.T
    return H / np.linalg.norm(H, axis=1, keepdims=True)
