"""Principal components (PCA), which any dictionary must beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.baselines import BLOCK, check_components, principal_components
from patchclamp.decompose.fitting import FactorOptions, Subject, make_basis


@dataclass(frozen=True)
class PCAOptions(FactorOptions):
    """Options of PCA."""

    def check(self, n_features: int, n_rows: int, width: int) -> None:
        """Refuse numbers that activations cannot be decomposed with."""
        check_components(n_features, n_rows, width)

    def fit_bytes(self, n_features: int, n_rows: int, width: int) -> int:
        """Return what the fit holds: a block in double precision, or a covariance and its eigenvectors.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.

        Returns:
            int: bytes.
        """
        return max(16 * min(n_rows, BLOCK) * width, 8 * min(n_rows, BLOCK) * width + 24 * width**2, 48 * width**2)

    def fit(
        self, x: Float[np.ndarray, "row width"], n_features: int, *, name: str, seed: int
    ) -> tuple[Basis, Mapping[str, Any]]:
        """Fit the basis, and return it with curves of the fit.

        Args:
            x: ``(row, width)`` activations.
            n_features: number of features.
            name: slug of the basis.
            seed: of everything random.

        Returns:
            tuple: the basis, and curves by name.
        """
        return principal_components(x, n_features, name), {}


def pca(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: PCAOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Return the directions of most variance, orthonormal, largest first.

    f = (x − μ) Vᵀ, V the eigenvectors of the covariance (1/n) Σ (x − μ)(x − μ)ᵀ with the largest eigenvalues, as
    rows; the largest entry of each is made positive.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations are decomposed.
        recording: activations, rows × width, in the place of both.
        options: number of components.
        seed: nothing here is random.
        progress: called with activations done and in all.

    Returns:
        Basis: V, components × width; it reads what it writes.

    Raises:
        PatchclampError: more components than width or activations allow.

    Source: Pearson (1901); the components of Hotelling (1933). Exact.

    Cost: one pass of the subject; a covariance and the eigenvectors of a width by width matrix.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make("components").recording
        >>> decompose(rows, method="pca", n_features=4).bases["x"].n_units
        4
    """
    return make_basis(options, "pca", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: PCAOptions) -> Cost:
    return Cost(forward=sizes.rows, bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    pca,
    name="pca",
    room="decompose",
    title="principal components (PCA)",
    question="Along which directions does activity vary most?",
    papers=(Paper("doi:10.1080/14786440109462720"),),
    cost=_cost,
    oracle="oracles.factors:pca",
    calibrated_on=("superposition:components",),
    must_show="the planted directions of most variance",
    must_miss={"superposition": "features are more than dimensions, and not orthogonal"},
    options_at={"superposition*": {"n_features": 4}},
    sources=("decompose/baselines.py", "decompose/fitting.py"),
    quick={},
)
