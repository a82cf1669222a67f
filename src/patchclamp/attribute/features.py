"""Features: units of a basis of directions as nodes: how far each is from its baseline, and what that carries."""

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


def away(
    basis: Basis, site: str, x: Float[Tensor, "position width"], baseline: Baseline
) -> Float[Tensor, "position unit"]:
    """Return f − r: by how much every feature exceeds its baseline."""
    return encode(basis, x) - baseline.features(basis, site, x)


def at_baseline(
    basis: Basis, site: str, x: Float[Tensor, "position width"], baseline: Baseline
) -> Float[Tensor, "position width"]:
    """Return x − (f − r) D: every feature at its baseline, the error x − x̂ as it is."""
    return x - away(basis, site, x, baseline) @ directions(basis, x)


def carried(
    basis: Basis, change: Float[Tensor, "position unit"], gradient: Float[Tensor, "position width"]
) -> Float[Tensor, "position unit"]:
    """Return (f − r) · (∂m/∂x Dᵀ): what each feature's way from its baseline carries of m."""
    wide = upcast(gradient)
    return upcast(change) * (wide @ directions(basis, wide).T)


def directions(basis: Basis, like: Tensor) -> Float[Tensor, "unit width"]:
    """Return D on the dtype and device of ``like``."""
    return torch.as_tensor(basis.decoder, dtype=like.dtype, device=like.device)
