"""Baselines that any dictionary must beat: principal components and random directions."""

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError

BLOCK = 8192
"""Activations that are in double precision at a time."""


def principal_components(x: Float[np.ndarray, "row width"], n_features: int, name: str = "pca") -> Basis:
    """Return the directions of most variance, orthonormal, largest first: f = (x − mean) Dᵀ.

    Args:
        x: activations.
        n_features: how many; at most the width and one less than the rows.
        name: slug used in keys.

    Returns:
        Basis: orthonormal D ``(feature, width)``, and the mean as b_dec.

    Raises:
        PatchclampError: more components than there can be.

    Source: Pearson (1901), Philosophical Magazine 2, 559; Hotelling (1933).

    Cost: one covariance in float64 and the eigenvectors of a width by width matrix.

    Example:
        >>> principal_components(np.array([[0.0, 1.0], [0.0, -1.0], [0.1, 0.0]]), 1).decoder.round(1).tolist()
        [[0.0, 1.0]]
    """
    check_components(n_features, *x.shape)
    mean = x.mean(0, dtype=np.float64)
    # Blocks keep the copy in float64 small.
    covariance = sum((part := x[i : i + BLOCK].astype(np.float64) - mean).T @ part for i in range(0, len(x), BLOCK))
    _, vectors = np.linalg.eigh(covariance)
    rows = vectors[:, ::-1][:, :n_features].T
    # The sign of an eigenvector is arbitrary: its largest entry is made positive.
    rows = rows * np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))
    rows = np.ascontiguousarray(rows, dtype=x.dtype)
    return Basis(name, "directions", decoder=rows, encoder=rows, decoder_bias=mean.astype(x.dtype))


def random_directions(
    x: Float[np.ndarray, "row width"], n_features: int, k: int, *, seed: int = 0, name: str = "random"
) -> Basis:
    """Return random directions of length 1 of which each vector keeps the k largest: what chance finds.

    Args:
        x: activations, for their mean.
        n_features: how many.
        k: latents kept of every vector.
        seed: of the directions.
        name: slug used in keys.

    Returns:
        Basis: D ``(feature, width)``, activation ``topk``.

    Raises:
        PatchclampError: k beyond the number of features.

    Source: ours; random baselines as in 2309.08600, section 3.

    Example:
        >>> random_directions(np.ones((5, 4), np.float32), 7, 2).n_units
        7
    """
    check_kept(k, n_features)
    rows = np.random.default_rng(seed).normal(size=(n_features, x.shape[1]))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(x.dtype)
    mean = x.mean(0, dtype=np.float64).astype(x.dtype)
    return Basis(name, "directions", decoder=rows, encoder=rows, decoder_bias=mean, activation="topk", k=k)


def check_components(n_features: int, n_rows: int, width: int) -> None:
    """Refuse a number of principal components that activations do not have.

    Args:
        n_features: how many are wanted.
        n_rows: rows of the activations.
        width: their width.

    Raises:
        PatchclampError: with how many they have.
    """
    most = min(width, n_rows - 1)
    if not 1 <= n_features <= most:
        raise PatchclampError(
            expected=f"1 to {most} principal components of {n_rows:,} activations of width {width}",
            got=str(n_features),
            remedy="Give another --n-features.",
        )


def check_kept(k: int, n_features: int) -> None:
    """Refuse to keep more features of a vector than there are.

    Raises:
        PatchclampError: k beyond the number of features.
    """
    if not 1 <= k <= n_features:
        raise PatchclampError(
            expected=f"k from 1 to {n_features}", got=str(k), remedy="Give another --k or --n-features."
        )
