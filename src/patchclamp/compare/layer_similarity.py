"""How alike every layer of one network is to every layer of another, beside shuffled tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.compare.methods.rsa import dissimilarities
from patchclamp.core.stats import Interval, rank


@dataclass(frozen=True)
class LayerSimilarity:
    """Spearman correlations of dissimilarities.

    Args:
        value: ``(first, second)``.
        low: lower ends of the 95 % intervals.
        high: upper ends.
        shuffled: the interval of the same with shuffled tokens, over all cells.
        shuffled_mean: its mean.
    """

    value: Float[np.ndarray, "first second"]
    low: Float[np.ndarray, "first second"]
    high: Float[np.ndarray, "first second"]
    shuffled: Interval
    shuffled_mean: float


def compare_layers(
    first: Sequence[Float[np.ndarray, "token width"]],
    second: Sequence[Float[np.ndarray, "token width"]],
    draw: np.random.Generator,
    *,
    n_null: int = 99,
    n_bootstrap: int = 200,
) -> LayerSimilarity:
    """Compare layers by their dissimilarities of tokens, as the method ``rsa`` does two recordings.

    Args:
        first: what the same tokens evoked at each layer of the first.
        second: at each of the second.
        draw: shuffles and resamples the tokens.
        n_null: shuffles.
        n_bootstrap: resamples, pairs of a token with its own copy left out.

    Returns:
        LayerSimilarity: every layer of the first with every layer of the second.

    Source: as ``rsa``.

    Cost: ``n_bootstrap`` rankings of tokens² / 2 entries for every layer.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> layer = draw.standard_normal((20, 6))
        >>> compare_layers([layer], [layer], draw).value.tolist()
        [[1.0]]
    """
    n = len(first[0])
    lower = np.tril_indices(n, -1)
    rdms = [[dissimilarities(layer.astype(np.float64), "correlation") for layer in side] for side in (first, second)]
    ranks = [np.stack([rank(rdm[lower]) for rdm in side]) for side in rdms]
    value = _correlate(*ranks)
    null = np.empty((n_null, *value.shape))
    # A shuffle moves entries and changes no rank.
    grids = np.zeros((len(second), n, n))
    grids[:, lower[0], lower[1]] = ranks[1]
    grids += grids.transpose(0, 2, 1)
    for i in range(n_null):
        order = draw.permutation(n)
        null[i] = _correlate(ranks[0], grids[:, order][:, :, order][:, lower[0], lower[1]])
    resampled = np.full((n_bootstrap, *value.shape), np.nan)
    for i in range(n_bootstrap):
        some = draw.integers(0, n, n)
        rows, columns = some[lower[0]], some[lower[1]]
        apart = rows != columns
        if apart.sum() > 1:
            resampled[i] = _correlate(
                *(np.stack([rank(rdm[rows[apart], columns[apart]]) for rdm in side]) for side in rdms)
            )
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(resampled, [0.025, 0.975], axis=0)
    ends = np.nanquantile(null, [0.025, 0.975])
    method = f"{n_null} shuffles of the second network's tokens, all pairs of layers"
    shuffled = Interval(float(ends[0]), float(ends[1]), 0.95, method)
    return LayerSimilarity(value, low, high, shuffled, float(np.nanmean(null)))


def _correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of every row of one with every row of the other; NaN of rows that are constant."""
    sides = [side - side.mean(1, keepdims=True) for side in (first, second)]
    lengths = [np.linalg.norm(side, axis=1) for side in sides]
    with np.errstate(invalid="ignore", divide="ignore"):
        cells: np.ndarray = sides[0] @ sides[1].T / np.outer(*lengths)
    return np.clip(cells, -1, 1)
