"""Semi-NMF: sparse signed groups of units that fire together, and their weight in each vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.first_tokens import AT_ONCE
from patchclamp.decompose.fitting import FactorOptions, Subject, make_basis
from patchclamp.decompose.snmf import SNMF, Init
from patchclamp.subjects.nnls import solver_bytes


@dataclass(frozen=True)
class SNMFOptions(FactorOptions):
    """Options of semi-NMF."""

    sparsity: float = option(0.01, "share of a feature's units that is kept")
    init: Init = option("random", "the codes at first")
    max_iter: int = option(2000, "most iterations")
    patience: int = option(1500, "iterations without a lower loss after which it ends")

    def check(self, n_features: int, n_rows: int, width: int) -> None:
        """Refuse numbers that activations cannot be decomposed with."""
        self._estimator(n_features, 0).check(n_rows)

    def fit_bytes(self, n_features: int, n_rows: int, width: int) -> int:
        """Return what the fit holds: marks of what is finite, or blocks and codes; or what solves for codes.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.

        Returns:
            int: bytes.
        """
        return max(6 * n_rows * width, 4 * n_rows * (width + 5 * n_features), solver_bytes(AT_ONCE, n_features, width))

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
        fitted = self._estimator(n_features, seed).fit(x)
        return fitted.to_basis(name), fitted.curves

    def _estimator(self, n_features: int, seed: int) -> SNMF:
        return SNMF(
            n_features, self.sparsity, self.init, self.max_iter, self.patience, seed=seed, device=self.device or None
        )


def snmf(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: SNMFOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Factorise activations by semi-NMF: sparse signed features, codes that are never negative.

    A ≈ Z Y with Y ≥ 0, A = xᵀ. With F = Z and G = Yᵀ, repeat: F ← A G (GᵀG + 10⁻⁶ I)⁻¹; of each column of F keep the
    ⌈p d⌉ largest by size; bring each column of G to length 1 and multiply F's by what it had; G ← G ⊙ √(([AᵀF]⁺ + G
    [FᵀF]⁻) / ([AᵀF]⁻ + G [FᵀF]⁺)). Winner-take-all may raise ‖A − Z Y‖²: the best is kept.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations are decomposed.
        recording: activations, rows × width, in the place of both.
        options: number of features, p, the codes at first, iterations.
        seed: of the first codes.
        progress: called with activations done and in all.

    Returns:
        Basis: Zᵀ at unit rows, features × width, codes solved for with f ≥ 0.

    Raises:
        PatchclampError: fewer activations than features, zeros alone, numbers out of range.

    Source: 2506.10920, section 3 and its code. Departs from it where several values tie for the last place of a
    feature: one is kept.

    Cost: one pass of the subject; per iteration (1 + p) n d k + 3 n k² multiplications.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make("groups").recording
        >>> decompose(rows, method="snmf", n_features=4, sparsity=0.1, max_iter=5).bases["x"].n_units
        4
    """
    return make_basis(options, "snmf", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: SNMFOptions) -> Cost:
    return Cost(forward=sizes.rows, bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    snmf,
    name="snmf",
    room="decompose",
    title="semi-NMF with winner-take-all",
    question="Which sparse groups of units fire together?",
    papers=(Paper("2506.10920", equation="section 3"),),
    cost=_cost,
    oracle="oracles.snmf:snmf",
    calibrated_on=("superposition:groups",),
    must_show="most of the planted groups of neurons, each by a feature of its own",
    must_miss={"superposition:noise": "activity without features has none to be found"},
    options_at={"superposition*": {"n_features": 6, "sparsity": 0.1, "max_iter": 1000, "patience": 300}},
    sources=("decompose/snmf.py", "decompose/fitting.py"),
    quick={"max_iter": 3},
)
