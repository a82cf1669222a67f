"""Ridge regression by its normal equations, target by target, the penalty chosen by inner blocks."""

import numpy as np


def solve(x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    return np.linalg.inv(x.T @ x + alpha * np.eye(x.shape[1])) @ x.T @ y


def choose(x: np.ndarray, y: np.ndarray, alphas: tuple[float, ...], folds: int) -> float:
    """Return the penalty with the lowest mean squared error over contiguous folds."""
    bounds = np.array_split(np.arange(len(x)), folds)
    best, chosen = -np.inf, alphas[0]
    for alpha in alphas:
        scores = []
        for held in bounds:
            fit = np.setdiff1d(np.arange(len(x)), held)
            error = y[held] - x[held] @ solve(x[fit], y[fit], alpha)
            scores.append(-(error @ error) / len(held))
        if np.mean(scores) > best:
            best, chosen = float(np.mean(scores)), alpha
    return chosen


def ridge(features, targets, split, options) -> np.ndarray:
    """Return the held-out prediction of every row."""
    [x], [y] = features.values.values(), targets.values.values()
    out = np.full(y.shape, np.nan)
    for k in np.unique(split.fold):
        fit, held = np.flatnonzero(split.fold != k), np.flatnonzero(split.fold == k)
        mu, sd = x[fit].mean(0), x[fit].std(0)
        z, z_held = (x[fit] - mu) / sd, (x[held] - mu) / sd
        for t in range(y.shape[1]):
            b = y[fit, t].mean()
            w = solve(z, y[fit, t] - b, choose(z, y[fit, t] - b, options.alphas, options.inner_folds))
            out[held, t] = z_held @ w + b
    return out
