"""Check activations for the factorisations, one row per token, and build the basis that they return."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError


def as_matrix(X: Any, n_features: int, *, device: str | None = None) -> Float[Tensor, "token width"]:
    """Return activations as a tensor, float64 if they are, else float32.

    Args:
        X: ``(token, width)``, NumPy or PyTorch, any floating dtype.
        n_features: how many features are wanted of them.
        device: where to compute; the default is where X lies.

    Returns:
        ``(token, width)`` tensor.

    Raises:
        PatchclampError: not a matrix of numbers, empty, NaN or infinite, all zero, or fewer tokens than features.

    Example:
        >>> as_matrix(np.ones((3, 2), np.float16), 1).dtype
        torch.float32
    """
    try:
        x = X if isinstance(X, Tensor) else torch.from_numpy(np.ascontiguousarray(_plain(np.asarray(X))))
    except (TypeError, ValueError) as problem:
        raise PatchclampError(
            expected="activations (token, width), numbers in NumPy or PyTorch",
            got=str(problem)[:200],
            remedy="For example recording['blocks.0.mlp.act'].",
        ) from problem
    wrong = ""
    if x.ndim != 2 or 0 in x.shape:
        wrong = f"shape {tuple(x.shape)}"
    elif x.is_complex() or not x.isfinite().all():
        wrong = "complex numbers" if x.is_complex() else f"{int((~x.isfinite()).sum()):,} numbers NaN or infinite"
    elif not (x != 0).any():
        wrong = "zeros only"
    elif not 1 <= n_features <= len(x):
        wrong = f"{n_features:,} features of {len(x):,} tokens"
    if wrong:
        raise PatchclampError(
            expected="activations (token, width), finite, with at least as many tokens as features",
            got=wrong,
            remedy="Record more text, or ask for fewer features.",
        )
    return x.detach().to(device=device, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


def check_tokens(n_features: int, n_tokens: int) -> None:
    """Refuse more features than there are tokens, before their activations are computed.

    Raises:
        PatchclampError: with both numbers.
    """
    if not 1 <= n_features <= n_tokens:
        raise PatchclampError(
            expected="at least one feature, and as many tokens as features",
            got=f"{n_features:,} features of {n_tokens:,} tokens",
            remedy="Give more text, or ask for fewer features (--n-features).",
        )


def _plain(x: np.ndarray) -> np.ndarray:
    return x if x.dtype in (np.float64, np.float32) or x.dtype.kind == "c" else x.astype(np.float32)


def nonnegative_basis(components: Float[np.ndarray, "feature width"], name: str) -> Basis:
    """Return the basis whose units are a factorisation's features: x ≈ f D with f ≥ 0.

    Args:
        components: one feature per row; D is these at length 1, a feature of zeros stays zeros.
        name: of the basis, for keys.
    """
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    decoder = components / np.where(lengths > 0, lengths, 1)
    return Basis(name, "directions", decoder=decoder.astype(components.dtype), activation="nonnegative")
