"""NMF by scikit-learn, for activations that are never negative."""

import importlib
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.matrix import as_matrix, check_tokens, nonnegative_basis


class NMF:
    """Decompose non-negative activations X ≈ W H, W ≥ 0 and H ≥ 0: scikit-learn's ``NMF`` with a basis at its end.

    NMF is ambiguous in scale and order, and depends on the seed: compare two fits by matched cosines.

    Args:
        n_features: rows of H.
        seed: of the initialisation and of the order of coordinate descent.
        max_iter: most iterations.
        options: any other option of ``sklearn.decomposition.NMF`` (``init``, ``solver``, ``alpha_W``, ``l1_ratio`` …).

    After ``fit``: ``components_`` H, ``codes_`` W, ``reconstruction_err_``, ``n_iter_``, and ``converged_``.

    Raises:
        PatchclampError: scikit-learn is not installed; X has negative values, as after GELU or SiLU; see ``as_matrix``.

    Example:
        >>> X = np.random.default_rng(0).exponential(size=(40, 8)).astype("float32")
        >>> NMF(3, seed=1).fit(X).to_basis().n_units
        3
    """

    def __init__(self, n_features: int = 20, *, seed: int = 0, max_iter: int = 500, **options: Any) -> None:
        self.n_features, self.seed, self.max_iter, self.options = n_features, seed, max_iter, options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the options by name."""
        return {"n_features": self.n_features, "seed": self.seed, "max_iter": self.max_iter, **self.options}

    def set_params(self, **options: Any) -> "NMF":
        """Change options by name; scikit-learn refuses those that it does not know, when fitted."""
        for name in ("n_features", "seed", "max_iter"):
            setattr(self, name, options.pop(name, getattr(self, name)))
        self.options |= options
        return self

    def fit(self, X: Any, y: None = None) -> "NMF":
        """Factorise activations ``(token, width)``, NumPy or PyTorch."""
        x = _without_negative(as_matrix(X, max(self.n_features, 1)).cpu().numpy())
        decomposition = _scikit_learn()
        try:
            self._bare = decomposition.NMF(
                n_components=self.n_features, random_state=self.seed, max_iter=self.max_iter, **self.options
            )
            with warnings.catch_warnings():
                # `converged_` says whether it stopped before it converged.
                warnings.simplefilter("ignore", category=UserWarning)
                self.codes_ = self._bare.fit_transform(x)
        except (TypeError, ValueError) as problem:
            raise PatchclampError(
                expected="options of sklearn.decomposition.NMF",
                got=f"{str(problem)[:200]}",
                remedy="See scikit-learn's documentation.",
            ) from problem
        self.components_: np.ndarray = self._bare.components_
        self.reconstruction_err_ = float(self._bare.reconstruction_err_)
        self.n_iter_ = int(self._bare.n_iter_)
        self.converged_ = self.n_iter_ < self.max_iter
        return self

    def check(self, n_tokens: int) -> None:
        """Refuse more features than tokens, and an installation without scikit-learn.

        Raises:
            PatchclampError: with what is missing.
        """
        _scikit_learn()
        check_tokens(self.n_features, n_tokens)

    def fit_transform(self, X: Any, y: None = None) -> Float[np.ndarray, "token feature"]:
        """Factorise and return the codes."""
        return self.fit(X).codes_

    def transform(self, X: Any) -> Float[np.ndarray, "token feature"]:
        """Return the codes of activations, as scikit-learn computes them."""
        if not hasattr(self, "components_"):
            raise PatchclampError(expected="fitted features", got="none yet", remedy="Call fit(X) first.")
        codes: np.ndarray = self._bare.transform(_without_negative(as_matrix(X, 1).cpu().numpy()))
        return codes

    def to_basis(self, name: str = "nmf") -> Basis:
        """Return the features as a basis of activation ``nonnegative``, each direction of length 1."""
        if not hasattr(self, "components_"):
            raise PatchclampError(expected="fitted features", got="none yet", remedy="Call fit(X) first.")
        return nonnegative_basis(self.components_, name)


def _without_negative(x: np.ndarray) -> np.ndarray:
    if (x < 0).any():
        raise PatchclampError(
            expected="activations that are never negative, as after a ReLU",
            got=f"{float((x < 0).mean()):.1%} of the numbers below zero, the lowest {float(x.min()):.3g}",
            remedy="Use SNMF, whose features may have either sign.",
        )
    return x


def _scikit_learn() -> Any:
    try:
        return importlib.import_module("sklearn.decomposition")
    except ImportError as problem:
        raise PatchclampError(
            expected="scikit-learn, which computes NMF",
            got="none installed",
            remedy="pip install 'patchclamp[science]'.",
        ) from problem
