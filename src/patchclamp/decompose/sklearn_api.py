"""A sparse autoencoder of arrays with scikit-learn's estimator interface."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_files import find_method
from patchclamp.decompose.activation_store import ArraySource
from patchclamp.decompose.fitting import CoderOptions
from patchclamp.decompose.parameters import Parameters
from patchclamp.decompose.recipe import Job, Recipe
from patchclamp.decompose.sparse_coder import CoderConfig, SparseCoder
from patchclamp.decompose.training import train

BLOCK = 4096


@dataclass(eq=False)
class SparseAutoencoder(Parameters):
    """Learn sparse latents of activations; the transcoder where a target is given.

    Args:
        n_features: how many latents.
        method: ``topk``, ``batchtopk``, ``jumprelu`` or ``l1``.
        k: latents kept of every vector, for ``topk`` and ``batchtopk``.
        sparsity: the penalty, for ``l1`` and ``jumprelu``; the default is the method's own.
        skip: a linear path beside the latents, with a target only.
        batch_size: activations per step, at most a quarter of all.
        learning_rate: of Adam; see ``Recipe``.
        passes: how often the activations are gone through.
        seed: of directions and order.
        device: where to train.

    After ``fit``: ``components_`` (n_features, width), ``coder_``, ``curves_``.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32)
        >>> SparseAutoencoder(16, k=3, passes=2).fit(X).transform(X[:5]).shape
        (5, 16)
    """

    n_features: int = 512
    method: str = "topk"
    k: int = 32
    sparsity: float | None = None
    skip: bool = False
    batch_size: int = 2048
    learning_rate: float | None = None
    passes: int = 10
    seed: int = 0
    device: str = "cpu"

    def fit(self, X: Any, y: Any = None) -> "SparseAutoencoder":
        """Learn from activations ``(row, width)``; with a target ``y``, learn to write it from X.

        Raises:
            PatchclampError: arrays that are no rows of finite numbers, or options that do not fit.
        """
        values = {"x": _matrix(X)} if y is None else {"x": _matrix(X), "y": _matrix(y)}
        source = ArraySource(values)
        recipe = Recipe(
            batch_size=max(min(self.batch_size, source.n_rows // 4), 1),
            learning_rate=self.learning_rate,
            passes=self.passes,
            seed=self.seed,
        )
        job = Job("x", "x" if y is None else "y", self._config())
        [trained] = train(source, [job], recipe, device=self.device)
        self.coder_: SparseCoder = trained.coder
        self.curves_ = trained.curves
        self.reads_ = None if y is None else "x"
        self.components_: np.ndarray = np.ascontiguousarray(trained.coder.decoder.detach().cpu().numpy())
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Float[np.ndarray, "row latent"]:
        """Learn, and return the latents."""
        return self.fit(X, y).transform(X)

    def transform(self, X: Any) -> Float[np.ndarray, "row latent"]:
        """Return the latents of activations, densely."""
        return self._in_blocks(self._coder().encode, X)

    def predict(self, X: Any) -> Float[np.ndarray, "row width"]:
        """Return what the coder writes for activations: their reconstruction, or the target's."""
        return self._in_blocks(self._coder(), X)

    def to_basis(self, name: str = "features") -> Basis:
        """Return the coder as a Basis; a transcoder's reads the site ``x``."""
        return self._coder().to_basis(name, self.reads_)

    def _in_blocks(self, work: Any, X: Any) -> np.ndarray:
        parts = torch.as_tensor(_matrix(X), device=self.device).split(BLOCK)
        return torch.cat([work(part) for part in parts]).detach().cpu().numpy()

    def _coder(self) -> SparseCoder:
        if not hasattr(self, "coder_"):
            raise PatchclampError(expected="a fitted coder", got="none yet", remedy="Call fit(X) first.")
        return self.coder_

    def _config(self) -> CoderConfig:
        return config_of(self.method, self.n_features, k=self.k, sparsity=self.sparsity, skip=self.skip)


def config_of(
    method: str, n_latents: int, *, k: int | None = None, sparsity: float | None = None, skip: bool = False
) -> CoderConfig:
    """Return a method's coder configuration; options that the method lacks are ignored.

    Args:
        method: ``l1``, ``topk``, ``batchtopk`` or ``jumprelu``.
        n_latents: number of latents.
        k: latents kept of a vector.
        sparsity: the penalty λ.
        skip: whether a transcoder has a linear path.

    Returns:
        CoderConfig: of that method.

    Raises:
        PatchclampError: an unknown method, or numbers that do not fit.

    Example:
        >>> config_of("topk", 64, k=4).k
        4
    """
    options = find_method(method, "decompose").options
    if not issubclass(options, CoderOptions):
        raise PatchclampError(expected="a method among the sparse coders", got=repr(method), remedy="Such as topk.")
    given: dict[str, Any] = {"k": k, "sparsity": sparsity, "skip_connection": skip}
    taken = {field.name for field in fields(options)}
    return options(**{name: x for name, x in given.items() if x is not None and name in taken}).config(n_latents)


def _matrix(X: Any) -> np.ndarray:
    x = np.asarray(X)
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind not in "fiu":
        raise PatchclampError(
            expected="activations (row, width) of real numbers",
            got=f"shape {x.shape} of {x.dtype}",
            remedy="Give one row per token.",
        )
    return x.astype(np.float32)
