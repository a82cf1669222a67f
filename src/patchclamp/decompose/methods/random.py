"""Random directions, which any dictionary must beat."""

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
from patchclamp.decompose.baselines import check_kept, random_directions
from patchclamp.decompose.fitting import FactorOptions, Subject, make_basis


@dataclass(frozen=True)
class RandomOptions(FactorOptions):
    """Options of random directions."""

    k: int = option(32, "features kept of a vector")

    def check(self, n_features: int, n_rows: int, width: int) -> None:
        """Refuse numbers that activations cannot be decomposed with."""
        check_kept(self.k, n_features)

    def fit_bytes(self, n_features: int, n_rows: int, width: int) -> int:
        """Return what the fit holds: the directions in double precision.

        Args:
            n_features: number of features.
            n_rows: rows of the activations.
            width: their width.

        Returns:
            int: bytes.
        """
        return 16 * n_features * width

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
        return random_directions(x, n_features, self.k, seed=seed, name=name), {}


def random(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: RandomOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Return random directions of length 1, of which the k largest products are kept: what chance finds.

    f = TopK(D (x − μ)), x̂ = f D + μ, the rows of D drawn from a normal distribution and brought to length 1.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations are decomposed.
        recording: activations, rows × width, in the place of both.
        options: number of features, k.
        seed: of the directions.
        progress: called with activations done and in all.

    Returns:
        Basis: D, features × width; it reads what it writes.

    Raises:
        PatchclampError: k beyond the number of features.

    Source: ours, the baseline of chance.

    Cost: one pass of the subject; the mean of the activations.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> decompose(rows, method="random", n_features=4, k=2).bases["x"].n_units
        4
    """
    return make_basis(options, "random", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: RandomOptions) -> Cost:
    return Cost(forward=sizes.rows, bytes=8 * sizes.rows * sizes.units)


METHOD = Method(
    random,
    name="random",
    room="decompose",
    title="random directions",
    question="What does chance find?",
    papers=(Paper("ours"),),
    cost=_cost,
    oracle="oracles.factors:random",
    calibrated_on=("superposition",),
    must_show="directions of length 1 that know nothing of the activity",
    must_miss={"superposition*": "chance points at no feature"},
    options_at={"superposition*": {"n_features": 64, "k": 3}},
    sources=("decompose/baselines.py", "decompose/fitting.py"),
    quick={},
)
