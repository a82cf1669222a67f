"""Linear discriminants from class means and one covariance, each class' own shrunk by Ledoit & Wolf's share."""

import numpy as np


def shrink(x: np.ndarray) -> np.ndarray:
    """Return (1 − b²/d²) S + (b²/d²) m I of standardised columns, scaled back (Ledoit & Wolf 2004, equation 14)."""
    n, p = x.shape
    sd = x.std(0)
    z = (x - x.mean(0)) / sd
    s = z.T @ z / n
    m = np.trace(s) / p
    d2 = ((s - m * np.eye(p)) ** 2).sum() / p
    b2 = sum(((np.outer(row, row) - s) ** 2).sum() for row in z) / p / n**2
    share = min(b2, d2) / d2
    return np.outer(sd, sd) * ((1 - share) * s + share * m * np.eye(p))


def linear(recording, labels, split, options) -> np.ndarray:
    """Return the discriminants of every held-out row."""
    [x] = recording.values.values()
    y = np.array([labels.labels.index(case.label) for case in labels.cases])
    out = np.full((len(x), len(labels.labels)), np.nan)
    for k in np.unique(split.fold):
        fit, held = np.flatnonzero(split.fold != k), np.flatnonzero(split.fold == k)
        mu = x[fit].mean(0)
        groups = [x[fit][y[fit] == c] - mu for c in range(out.shape[1])]
        inverse = np.linalg.inv(np.mean([shrink(group) for group in groups], axis=0))
        for c, group in enumerate(groups):
            m_c = group.mean(0)
            out[held, c] = (x[held] - mu) @ inverse @ m_c - 0.5 * m_c @ inverse @ m_c + np.log(1 / len(groups))
    return out
