"""Factorise activations that are never negative into parts that are never negative (NMF)."""

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
from patchclamp.decompose.nmf import NMF
from patchclamp.subjects.nnls import solver_bytes


@dataclass(frozen=True)
class NMFOptions(FactorOptions):
    """Options of NMF."""

    max_iter: int = option(500, "most iterations")

    def check(self, n_features: int, n_rows: int, width: int) -> None:
        """Refuse numbers that activations cannot be decomposed with."""
        NMF(n_features).check(n_rows)

    def fit_bytes(self, n_features: int, n_rows: int, width: int) -> int:
        """Return what the fit holds: a copy, codes and products; or what solves for codes.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.

        Returns:
            int: bytes.
        """
        return max(4 * n_rows * (width + 4 * n_features), solver_bytes(AT_ONCE, n_features, width))

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
        return NMF(n_features, seed=seed, max_iter=self.max_iter).fit(x).to_basis(name), {}


def nmf(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: NMFOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Factorise activations that are never negative into parts that are never negative.

    V ≈ W H with W ≥ 0 and H ≥ 0 that minimise ‖V − W H‖², V = x: rows of H are the parts. One coordinate at a time:
    W_it ← max(0, W_it − (W H Hᵀ − V Hᵀ)_it / (H Hᵀ)_tt), and H likewise, from the non-negative parts of singular
    vectors.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations are decomposed.
        recording: activations, rows × width, in the place of both.
        options: number of features, iterations.
        seed: of the singular vectors' approximation.
        progress: called with activations done and in all.

    Returns:
        Basis: H at unit rows, features × width, codes solved for with f ≥ 0.

    Raises:
        PatchclampError: negative activations, fewer of them than features, no scikit-learn.

    Source: Lee & Seung (1999), equation 1 and their criterion of squares. Departs from it in coordinate descent
    (scikit-learn's) for their multiplicative updates.

    Cost: one pass of the subject; per iteration 2 n d k + 4 n k² multiplications.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make("parts").recording
        >>> decompose(rows, method="nmf", n_features=4).bases["x"].n_units
        4
    """
    return make_basis(options, "nmf", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: NMFOptions) -> Cost:
    return Cost(forward=sizes.rows, bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    nmf,
    name="nmf",
    room="decompose",
    title="non-negative matrix factorisation (NMF)",
    question="Which parts that only add up is activity made of?",
    papers=(Paper("doi:10.1038/44565", equation="1"),),
    cost=_cost,
    oracle="oracles.nmf:nmf",
    calibrated_on=("superposition:parts",),
    must_show="the planted parts, each by a feature of its own",
    must_miss={"superposition:uniform": "activity without parts has none to be found"},
    options_at={"superposition*": {"n_features": 5}},
    sources=("decompose/nmf.py", "decompose/fitting.py"),
    quick={"max_iter": 5},
)
