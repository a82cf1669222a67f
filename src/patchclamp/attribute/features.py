"""Features of a basis as units: how far each is from its baseline, and its score by a gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.core.basis import Basis
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import encode

PLAIN = {"neurons": "neuron", "heads": "head", "channels": "channel", "whole": "site"}
"""Bases that say which columns of x a unit is; every other basis has directions, and its units are features."""


def kind_of(basis: str) -> str:
    """Return what a unit of a basis is: ``neuron``, ``head``, ``channel``, ``site`` (a whole one) or ``feature``.

    Example:
        >>> kind_of("heads"), kind_of("snmf-100")
        ('head', 'feature')
    """
    return PLAIN.get(basis, "feature")


def delta_from_baseline(
    basis: Basis, site: str, x: Float[Tensor, "position width"], baseline: Baseline
) -> Float[Tensor, "position unit"]:
    """Return f − r of every feature: its activation minus its activation at the baseline.

    Args:
        basis: directions at the site.
        site: its path.
        x: ``(position, width)`` activations.
        baseline: zero, or the corrupted run.

    Returns:
        ``(position, unit)``, in units of the features' activations.

    Example:
        >>> import numpy as np
        >>> basis = Basis("d", "directions", decoder=np.array([[0.0, 1.0]], np.float32))
        >>> delta_from_baseline(basis, "x", torch.tensor([[3.0, 2.0]]), Baseline("zero")).tolist()
        [[2.0]]
    """
    return encode(basis, x) - baseline.features(basis, site, x)


def at_baseline(
    basis: Basis, site: str, x: Float[Tensor, "position width"], baseline: Baseline
) -> Float[Tensor, "position width"]:
    """Return x − (f − r) D: activations with every feature at its baseline, the error x − x̂ unchanged.

    Args:
        basis: directions D ``(unit, width)`` at the site.
        site: its path.
        x: ``(position, width)`` activations.
        baseline: zero, or the corrupted run.

    Returns:
        ``(position, width)``, in units of x.

    Example:
        >>> import numpy as np
        >>> basis = Basis("d", "directions", decoder=np.array([[0.0, 1.0]], np.float32))
        >>> at_baseline(basis, "x", torch.tensor([[3.0, 2.0]]), Baseline("zero")).tolist()
        [[3.0, 0.0]]
    """
    return x - delta_from_baseline(basis, site, x, baseline) @ directions(basis, x)


def feature_delta_times_gradient(
    basis: Basis, delta: Float[Tensor, "position unit"], gradient: Float[Tensor, "position width"]
) -> Float[Tensor, "position unit"]:
    """Return (f − r) · (∂m/∂x Dᵀ) of every feature: its change times its own gradient, by the chain rule.

    Args:
        basis: directions D ``(unit, width)``.
        delta: ``(position, unit)`` f − r.
        gradient: ``(position, width)`` ∂m/∂x.

    Returns:
        ``(position, unit)``, in units of m.

    Source: attribution patching (2403.00745) with n = f, ∂x/∂f = D.

    Example:
        >>> import numpy as np
        >>> basis = Basis("d", "directions", decoder=np.array([[0.0, 1.0]], np.float32))
        >>> feature_delta_times_gradient(basis, torch.tensor([[2.0]]), torch.tensor([[5.0, 0.5]])).tolist()
        [[1.0]]
    """
    wide = upcast(gradient)
    return upcast(delta) * (wide @ directions(basis, wide).T)


def directions(basis: Basis, like: Tensor) -> Float[Tensor, "unit width"]:
    """Return D in the dtype and on the device of ``like``."""
    return torch.as_tensor(basis.decoder, dtype=like.dtype, device=like.device)
