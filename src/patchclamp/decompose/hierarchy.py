"""Features of features, and which neurons a family of features shares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.matrix import as_matrix
from patchclamp.decompose.snmf import SNMF


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Hold A ≈ Z_L Y_L … Y_1 Y_0, turned as activations are stored.

    Args:
        features: per level Z_ℓᵀ ``(feature, width)``, the finest first; the last is that of the chain.
        merges: per step from one level to the next Y_ℓᵀ ``(finer feature, coarser feature)``, not below zero.
        codes: Y_0ᵀ ``(token, finest feature)``.
        errors: ‖A − Z_L Y_L … Y_0‖ / ‖A‖ before and after the joint fit.
    """

    features: tuple[Float[np.ndarray, "_feature width"], ...]
    merges: tuple[np.ndarray, ...]
    codes: Float[np.ndarray, "token finest"]
    errors: tuple[float, float]

    def tree(self, least: float = 0.1) -> list[dict[str, Any]]:
        """Return which features of one level merge into which of the next.

        share of coarser j in finer i = Yᵀ_ij ‖z_j‖ / Σ_j′ Yᵀ_ij′ ‖z_j′‖

        Args:
            least: shares below are left out.

        Returns:
            list: for every coarser feature its ``level`` (from 1), ``feature``, and ``merges``: the finer features with
            ``weight`` (Y's entry) and ``share``, the largest first. A feature may merge into several.
        """
        nodes = []
        for level, weights in enumerate(self.merges, start=1):
            sizes = weights * np.linalg.norm(self.features[level], axis=1)
            shares = sizes / np.maximum(sizes.sum(1, keepdims=True), np.finfo(sizes.dtype).tiny)
            for j in range(weights.shape[1]):
                children = [i for i in np.argsort(-shares[:, j], kind="stable") if shares[i, j] >= max(least, 1e-12)]
                merged = [
                    {"feature": int(i), "weight": float(weights[i, j]), "share": float(shares[i, j])} for i in children
                ]
                nodes.append({"level": level, "feature": j, "merges": merged})
        return nodes


def build_hierarchy(
    X: Any,
    n_features: Sequence[int] = (400, 200, 100, 50),
    *,
    sparsity: float | Sequence[float] = 0.01,
    constrained: bool = True,
    steps: int = 500,
    learning_rate: float = 1e-3,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Hierarchy:
    """Factorise activations, then the features found, and so on; then fit the whole chain at once.

    Level 0 is A ≈ Z_0 Y_0, level ℓ Z_{ℓ−1} ≈ Z_ℓ Y_ℓ, each by SNMF; then Adam on ‖A − Z_L Y_L … Y_0‖², over Z_L and all
    Y, of which the best iterate is kept.

    Args:
        X: ``(token, width)``, NumPy or PyTorch.
        n_features: of each level, falling.
        sparsity: p of every level, or one for each: coarse features unite the neurons of several and may need more.
        constrained: keep every Y at zero or above and Z_L's zeros through the joint fit. The paper's code does not, and
            what it merges may then have either sign.
        steps: of the joint fit; 0 for none.
        learning_rate: of Adam.
        seed: of every level's first codes.
        options: further options of ``SNMF``.

    Returns:
        Hierarchy: features of the finer levels are those of their own factorisation.

    Raises:
        PatchclampError: levels that do not fall, or not one sparsity a level; see ``SNMF``.

    Source: 2506.10920 for the hierarchy; Trigeorgis et al. (2017), IEEE TPAMI 39, 417, for fitting it jointly.

    Cost: one SNMF per level, of which the first is by far the largest; each joint step some six products like its.

    Example:
        >>> X = np.random.default_rng(0).exponential(size=(60, 16)).astype("float32")
        >>> found = build_hierarchy(X, [6, 2], sparsity=0.5, steps=5, options={"max_iter": 20})
        >>> [z.shape for z in found.features], found.merges[0].shape
        ([(6, 16), (2, 16)], (6, 2))
    """
    shares = [sparsity] * len(n_features) if isinstance(sparsity, int | float) else list(sparsity)
    falling = all(a > b for a, b in pairwise(n_features))
    if not n_features or not falling or len(shares) != len(n_features) or steps < 0:
        raise PatchclampError(
            expected="falling numbers of features, one sparsity for all levels or one for each, no negative steps",
            got=f"n_features {list(n_features)}, sparsity {sparsity}, {steps} steps",
            remedy="For example n_features=[400, 200, 100, 50].",
        )
    x = as_matrix(X, n_features[0])
    rows, fits = x, list[SNMF]()
    for k, share in zip(n_features, shares, strict=True):
        fits.append(SNMF(k, float(share), seed=seed, **(options or {})).fit(rows))
        rows = torch.from_numpy(fits[-1].components_).to(x.device)
    chain = [torch.from_numpy(fit.codes_).to(x.device) for fit in fits]
    top, chain, errors = _fitted_jointly(x, rows, chain, steps, learning_rate, constrained)
    arrays = [one.cpu().numpy() for one in (top, *chain)]
    features = (*(fit.components_ for fit in fits[:-1]), arrays[0])
    return Hierarchy(features, tuple(arrays[2:]), arrays[1], errors)


def _fitted_jointly(
    x: Float[Tensor, "token width"],
    top: Float[Tensor, "coarsest width"],
    chain: list[Tensor],
    steps: int,
    learning_rate: float,
    constrained: bool,
) -> tuple[Tensor, list[Tensor], tuple[float, float]]:
    """Return Z_Lᵀ, the Yᵀ, and the relative error before and after; the best iterate, as for one level."""
    parts = [part.requires_grad_(True) for part in _balance([*chain, top])]
    support = top != 0
    optimiser = torch.optim.Adam(parts, lr=learning_rate)
    energy = float(x.double().square().sum())
    errors, held = list[float](), list[Tensor]()
    for step in range(steps + 1):
        with torch.enable_grad():
            product = parts[0]
            for part in parts[1:]:
                product = product @ part
            loss = (x - product).square().sum()
        errors.append((float(loss.detach()) / energy) ** 0.5)
        if errors[-1] <= min(errors):
            held = [part.detach().clone() for part in parts]
        if step == steps:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if constrained:
            with torch.no_grad():
                parts[-1].mul_(support)
                for part in parts[:-1]:
                    part.clamp_(min=0)
    return held[-1], held[:-1], (errors[0], min(errors))


def _balance(parts: list[Tensor]) -> list[Tensor]:
    """Return factors of the same product whose columns, but the last factor's, have a mean square of 1.

    SNMF's codes have columns of length 1, so their entries shrink with the number of tokens and Adam's steps, which
    are of one size, would be far too long for them.
    """
    balanced = [parts[0].clone()]
    for part in parts[1:]:
        sizes = balanced[-1].square().mean(0).sqrt().clamp(min=1e-12)
        balanced[-1] = balanced[-1] / sizes
        balanced.append(part * sizes[:, None])
    return balanced


def neuron_overlap(features: Float[np.ndarray, "feature width"]) -> Integer[np.ndarray, "feature feature"]:
    """Return how many neurons every two features share: Z̄ᵀ Z̄, with Z̄ = 1 where Z is not 0.

    Args:
        features: Zᵀ, one feature per row.

    Example:
        >>> neuron_overlap(np.array([[1.0, 0, -2], [0, 0, 3]])).tolist()
        [[2, 1], [1, 1]]
    """
    held = (features != 0).astype(np.int64)
    return held @ held.T


def core_and_exclusive(
    features: Float[np.ndarray, "feature width"], *, shared_by: int | None = None
) -> tuple[Integer[np.ndarray, " core"], list[Integer[np.ndarray, " _own"]]]:
    """Return the neurons that the features of a family share, and of each those that no other has.

    Args:
        features: Zᵀ of the family, such as one feature per day of the week.
        shared_by: number of features that share a neuron of the core; the default is all.

    Example:
        >>> core, own = core_and_exclusive(np.array([[1.0, 2, 0], [3, 0, 1]]))
        >>> core.tolist(), [one.tolist() for one in own]
        ([0], [[1], [2]])
    """
    held = features != 0
    count = held.sum(0)
    return np.flatnonzero(count >= (shared_by or len(held))), [np.flatnonzero(one & (count == 1)) for one in held]
