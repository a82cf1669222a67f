"""Semi-NMF: sparse groups of neurons that fire together, and the weight of each in every token (arXiv 2506.10920)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.matrix import as_matrix, check_tokens, nonnegative_basis
from patchclamp.decompose.parameters import Parameters
from patchclamp.subjects.nnls import nonnegative_least_squares

Init = Literal["random", "kmeans", "svd"]
Progress = Callable[[int, int, float], None]
"""Called with iterations done, the most there can be, and the share of the variance about 0 not explained."""

LEAST = 1e-6
LLOYD_STEPS = 15
BLOCK = 1024
"""Tokens that are updated together: their part of the products stays in the processor's cache."""
GATHERED = 8
"""A feature that keeps fewer than one neuron in so many is multiplied by gathering: measured in benchmarks/snmf.py."""


@dataclass(frozen=True, eq=False)
class Factors:
    """Hold A ≈ Z Y, turned as activations are stored: rows of X = Aᵀ are tokens, X ≈ Yᵀ Zᵀ.

    Args:
        features: Zᵀ, one sparse signed feature per row.
        codes: Yᵀ ≥ 0, how much of each feature a token has.
        losses: ‖A − Z Y‖² after every iteration.
        best: which iteration is held.
    """

    features: Float[Tensor, "feature width"]
    codes: Float[Tensor, "token feature"]
    losses: tuple[float, ...]
    best: int


def factorise(
    x: Float[Tensor, "token width"],
    codes: Float[Tensor, "token feature"],
    *,
    sparsity: float,
    max_iter: int = 2000,
    patience: int = 1500,
    tol: float = 1e-4,
    progress: Progress | None = None,
) -> Factors:
    """Factorise from given codes by multiplicative updates with winner-take-all features.

    With A = Xᵀ, F = Z and G = Yᵀ, repeat: F ← A G (GᵀG + 10⁻⁶ I)⁻¹; of each column of F keep the ⌈p d⌉ largest by size;
    bring each column of G to length 1 and multiply F's by what it had;
    G ← G ⊙ √(([AᵀF]⁺ + G [FᵀF]⁻) / ([AᵀF]⁻ + G [FᵀF]⁺ + 10⁻⁶)). Winner-take-all may raise the loss: the best is kept.

    Args:
        x: X, float32 or float64; everything is computed in its dtype, sums for the loss in float64.
        codes: the first G, above zero: what is zero stays so.
        sparsity: p, the share of neurons that a feature keeps; 1 for no winner-take-all.
        max_iter: most iterations.
        patience: iterations without a loss lower by ``tol`` after which it ends.
        tol: absolute, as in the paper's code; scale X if that is too fine or too coarse.
        progress: called after every iteration.

    Returns:
        Factors: the iterate with the lowest loss. Where several values tie for the last place of a feature, one is kept
        (the paper's code keeps all).

    Raises:
        PatchclampError: the numbers overflow.

    Source: 2506.10920, section 3; multiplicative updates of Ding, Li & Jordan (2010), IEEE TPAMI 32, 45.

    Cost: per iteration (1 + p) n d k + 3 n k² multiplications, 2 n d k + 3 n k² where p ≥ 1/8; memory: a copy of X, and
    twice the codes. The loss costs nothing: it is read off the products that the next iteration needs, to about
    10⁻⁸ ‖A‖² in float32.

    Example:
        >>> made = torch.tensor([[1.0], [2.0], [0.5]]) @ torch.tensor([[3.0, 0.0, -1.0, 0.0]])
        >>> found = factorise(made, torch.ones(3, 1), sparsity=0.5, max_iter=20)
        >>> found.features.count_nonzero().item(), found.losses[-1] < 1e-4
        (2, True)
    """
    blocks = [x[start : start + BLOCK].T.contiguous() for start in range(0, len(x), BLOCK)]
    y = [codes[start : start + BLOCK].T.contiguous().clone() for start in range(0, len(x), BLOCK)]
    kept = [part.clone() for part in y]
    energy = sum(float(a.double().square().sum()) for a in blocks)
    cross, gram = _products(blocks, y)
    n_winners = math.ceil(sparsity * x.shape[1])
    held, losses, best = cross.T, list[float](), 0
    for step in range(max_iter):
        winners, weights, scale = _features(cross, gram, n_winners)
        features = torch.zeros_like(cross.T).scatter_(1, winners, weights)
        overlap = features @ features.T
        pulls = torch.cat([(-overlap).clamp(min=0), overlap.clamp(min=0)])
        gathered = (winners, weights) if n_winners * GATHERED < x.shape[1] else None
        for a, part in zip(blocks, y, strict=True):
            part /= scale
            _update(part, a, features, gathered, pulls)
        cross, gram = _products(blocks, y)
        loss = energy - 2 * _inner(features, cross.T) + _inner(overlap, gram)
        if not math.isfinite(loss):
            raise PatchclampError(
                expected=f"activations whose products {x.dtype} can hold",
                got=f"a loss of {loss} after {step + 1} iterations",
                remedy="Scale the activations down, or give them as float64.",
            )
        losses.append(max(loss, 0.0))
        if progress is not None:
            progress(step + 1, max_iter, losses[-1] / energy)
        if step == 0 or losses[-1] < losses[best] - tol:
            held, best = features, step
            for old, new in zip(kept, y, strict=True):
                old.copy_(new)
        elif step - best >= patience:
            break
    return Factors(held, torch.cat(kept, dim=1).T.contiguous(), tuple(losses), best)


def _products(
    blocks: list[Tensor], y: list[Tensor]
) -> tuple[Float[Tensor, "width feature"], Float[Tensor, "feature feature"]]:
    """Return A G and GᵀG."""
    k = len(y[0])
    cross, gram = blocks[0].new_zeros(len(blocks[0]), k), blocks[0].new_zeros(k, k)
    for a, part in zip(blocks, y, strict=True):
        cross.addmm_(a, part.T)
        gram.addmm_(part, part.T)
    return cross, gram


def _features(
    cross: Float[Tensor, "width feature"], gram: Float[Tensor, "feature feature"], n_winners: int
) -> tuple[Int[Tensor, "feature winner"], Float[Tensor, "feature winner"], Float[Tensor, "feature 1"]]:
    """Return the neurons that every feature keeps, their weights, and the lengths of G's columns."""
    inverse = torch.linalg.inv(gram.double() + LEAST * torch.eye(len(gram)).to(gram.device)).to(gram.dtype)
    solved = inverse @ cross.T
    winners = solved.abs().topk(n_winners, dim=1, sorted=False).indices
    scale = gram.diagonal().sqrt().clamp(min=1e-8)[:, None]
    return winners, solved.gather(1, winners) * scale, scale


def _update(
    y: Float[Tensor, "feature block"],
    a: Float[Tensor, "width block"],
    features: Float[Tensor, "feature width"],
    gathered: tuple[Int[Tensor, "feature winner"], Float[Tensor, "feature winner"]] | None,
    pulls: Float[Tensor, "twice feature"],
) -> None:
    """Update the codes of a block in place; ``pulls`` is [FᵀF]⁻ above [FᵀF]⁺."""
    if gathered is None:
        p = features @ a
    else:
        p = embedding_bag(gathered[0], a, per_sample_weights=gathered[1], mode="sum")
    up, down = (pulls @ y).chunk(2)
    up += p.clamp(min=0)
    down -= p.clamp_(max=0)
    y *= up.div_(down.add_(LEAST)).sqrt_()


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b).sum())


def first_codes(x: Float[Tensor, "token width"], k: int, init: Init, *, seed: int) -> Float[Tensor, "token feature"]:
    """Return initial codes, at least 10⁻⁶ everywhere.

    ``random``: uniform on (0, 1). ``kmeans``: 1 for the nearest of k centroids after 15 steps from k tokens; a centroid
    that loses all its tokens is drawn anew. ``svd``: √S V of the k largest singular vectors, each with the sign that
    gives it the larger positive part.

    Args:
        x: ``(token, width)`` X.
        k: how many features.
        init: which of these.
        seed: of the draw; ``svd`` draws nothing.

    Returns:
        ``(token, feature)`` codes.

    Raises:
        PatchclampError: ``svd`` with more features than the width.

    Source: Ding, Li & Jordan (2010), IEEE TPAMI 32, 45, for ``kmeans``.

    Cost: ``kmeans`` 15 n d k multiplications; ``svd`` n d² and the eigenvectors of a width by width matrix.

    Example:
        >>> first_codes(torch.eye(4), 2, "random", seed=0).shape
        torch.Size([4, 2])
    """
    rng = np.random.default_rng(seed)
    if init == "random":
        codes = torch.from_numpy(rng.uniform(size=(len(x), k)))
    elif init == "kmeans":
        nearest = _nearest_centroids(x, k, rng)
        codes = torch.zeros(len(x), k).scatter_(1, nearest.cpu()[:, None], 1.0)
    else:
        if k > x.shape[1]:
            raise PatchclampError(
                expected=f"at most {x.shape[1]:,} features, one a singular vector",
                got=f"{k:,} with init='svd'",
                remedy="Begin with init='random' or 'kmeans'.",
            )
        squares, vectors = torch.linalg.eigh(x.T @ x)
        codes = (x @ vectors[:, -k:].flip(1)) / squares[-k:].flip(0).clamp(min=1e-12) ** 0.25
        up, down = codes.clamp(min=0).square().sum(0), codes.clamp(max=0).square().sum(0)
        codes = codes * torch.where(up >= down, 1.0, -1.0)
    return codes.to(x).clamp(min=LEAST)


def _nearest_centroids(x: Float[Tensor, "token width"], k: int, rng: np.random.Generator) -> Int[Tensor, " token"]:
    def draw(n: int) -> Tensor:
        return torch.from_numpy(rng.choice(len(x), n, replace=False)).to(x.device)

    centroids = x[draw(k)]
    nearest = draw(0)
    for _ in range(LLOYD_STEPS):
        half = centroids.square().sum(1) / 2
        nearest = torch.cat([(part @ centroids.T - half).argmax(1) for part in x.split(BLOCK)])
        counts = nearest.bincount(minlength=k)
        centroids = torch.zeros_like(centroids).index_add_(0, nearest, x) / counts.clamp(min=1)[:, None]
        empty = counts == 0
        if empty.any():
            centroids[empty] = x[draw(int(empty.sum()))]
    return nearest


@dataclass(eq=False)
class SNMF(Parameters):
    """Decompose activations into sparse signed groups of neurons with non-negative codes, as scikit-learn would.

    X ≈ Yᵀ Zᵀ: ``components_`` is Zᵀ, ``codes_`` Yᵀ; see ``factorise``. Judge it by what it recovers or detects, not by
    how well it reconstructs: without winner-take-all the error is lowest and nothing is recovered
    (docs/results/features.md).

    Args:
        n_features: k.
        sparsity: p, the share of neurons that a feature keeps; the paper takes 0.01, and 0.05 for GPT-2. Sweep it.
        init: ``random``, ``kmeans`` or ``svd``; see ``first_codes``.
        max_iter: most iterations; the paper's code allows 200,000.
        patience: iterations without a loss lower by ``tol`` after which it ends.
        tol: absolute, of ‖X − Yᵀ Zᵀ‖².
        seed: of the first codes.
        device: where to compute; the default is where X lies.

    After ``fit``: ``components_`` ``(feature, width)``, ``codes_`` ``(token, feature)``, ``loss_curve_`` (every
    iteration), ``n_iter_``, ``best_iter_``, ``reconstruction_err_`` (‖X − Yᵀ Zᵀ‖).

    Raises:
        PatchclampError: an option out of range; see ``as_matrix`` for what X may be.

    Example:
        >>> X = np.random.default_rng(0).exponential(size=(64, 16)).astype("float32")
        >>> found = SNMF(3, sparsity=0.25, max_iter=30).fit(X)
        >>> found.components_.shape, (found.components_ != 0).sum(1).tolist(), bool(found.codes_.min() >= 0)
        ((3, 16), [4, 4, 4], True)
    """

    n_features: int = 100
    sparsity: float = 0.01
    init: Init = "random"
    max_iter: int = 2000
    patience: int = 1500
    tol: float = 1e-4
    seed: int = 0
    device: str | None = None

    def fit(self, X: Any, y: None = None, *, progress: Progress | None = None) -> "SNMF":
        """Factorise activations; float64 stays float64, all else becomes float32.

        Args:
            X: ``(token, width)``, NumPy or PyTorch.
            y: ignored, as scikit-learn's interface has it.
            progress: called with iterations done and in all.

        Returns:
            SNMF: itself, fitted.
        """
        self._check()
        x = as_matrix(X, self.n_features, device=self.device)
        found = factorise(
            x,
            first_codes(x, self.n_features, self.init, seed=self.seed),
            sparsity=self.sparsity,
            max_iter=self.max_iter,
            patience=self.patience,
            tol=self.tol,
            progress=progress,
        )
        self.components_, self.codes_ = found.features.cpu().numpy(), found.codes.cpu().numpy()
        self.loss_curve_, self.n_iter_, self.best_iter_ = found.losses, len(found.losses), found.best
        parts = zip(x.split(BLOCK), found.codes.split(BLOCK), strict=True)
        self.reconstruction_err_ = math.sqrt(
            sum(float((a - codes @ found.features).double().square().sum()) for a, codes in parts)
        )
        return self

    def check(self, n_tokens: int) -> None:
        """Refuse options with which activations of this number of tokens cannot be factorised.

        Raises:
            PatchclampError: with the option.
        """
        self._check()
        check_tokens(self.n_features, n_tokens)

    def fit_transform(self, X: Any, y: None = None) -> Float[np.ndarray, "token feature"]:
        """Factorise and return ``codes_``, which ``transform`` would improve a little: it solves for them exactly."""
        return self.fit(X).codes_

    def transform(self, X: Any) -> Float[np.ndarray, "token feature"]:
        """Return the codes of activations: argmin over y ≥ 0 of ‖x − y Zᵀ‖², exactly."""
        x = as_matrix(X, 1, device=self.device)
        components = torch.from_numpy(self._components()).to(x.device)
        parts = [nonnegative_least_squares(components, part) for part in x.split(BLOCK)]
        return torch.cat(parts).cpu().numpy()

    def inverse_transform(self, codes: Float[np.ndarray, "token feature"]) -> Float[np.ndarray, "token width"]:
        """Return the activations that codes stand for."""
        return codes @ self._components()

    def to_basis(self, name: str = "snmf") -> Basis:
        """Return the features as a basis of activation ``nonnegative``, each direction of length 1."""
        return nonnegative_basis(self._components(), name)

    @property
    def curves(self) -> Mapping[str, list[list[int | float]]]:
        """Loss against iteration, at most 200 points, as ``Dictionary.curves`` keeps it."""
        self._components()
        every = max(1, math.ceil(self.n_iter_ / 200))
        return {"loss": [[i + 1, self.loss_curve_[i]] for i in range(0, self.n_iter_, every)]}

    def _components(self) -> np.ndarray:
        if not hasattr(self, "components_"):
            raise PatchclampError(expected="fitted features", got="none yet", remedy="Call fit(X) first.")
        return self.components_

    def _check(self) -> None:
        wrong = [
            f"{name} = {getattr(self, name)!r}"
            for name, right in {
                "n_features": self.n_features >= 1,
                "sparsity": 0 < self.sparsity <= 1,
                "init": self.init in get_args(Init),
                "max_iter": self.max_iter >= 1,
                "patience": self.patience >= 1,
                "tol": self.tol >= 0,
            }.items()
            if not right
        ]
        if wrong:
            raise PatchclampError(
                expected="at least one feature and iteration, 0 < sparsity ≤ 1, tol ≥ 0, "
                f"init among {', '.join(get_args(Init))}",
                got=", ".join(wrong),
                remedy="Change that option.",
            )
