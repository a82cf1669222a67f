"""Baselines of a dictionary: neurons, principal components and random directions of as many active units."""

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary

RIVALS = ("neurons", "pca", "random")


def label(dictionary: Dictionary) -> str:
    """Return a dictionary's name in tables: its own, marked if one of its baselines has the same."""
    return f"{dictionary.name} (given)" if dictionary.name in RIVALS else dictionary.name


def rival_bases(x: Float[Tensor, "n width"], k: int, n_units: int, *, seed: int = 0) -> dict[str, Basis]:
    """Return bases that keep k numbers of every vector, fitted on other vectors.

    neurons: the k of x − x̄ that are largest by size, the others at their means. pca: the k first principal components.
    random: of as many random directions as the basis has units, the k largest of (x − x̄) Dᵀ, with the one best gain.

    Args:
        x: vectors to fit on.
        k: numbers kept.
        n_units: random directions.
        seed: of the random directions.

    Returns:
        dict: ``neurons``, ``pca``, ``random``.

    Source: random and component baselines as in 2309.08600, section 3; the neurons and the gain are ours.

    Cost: one eigendecomposition of width × width.

    Example:
        >>> {name: basis.n_units for name, basis in rival_bases(torch.randn(50, 4), 2, 9).items()}
        {'neurons': 8, 'pca': 2, 'random': 9}
    """
    x = x.float()
    width = x.shape[1]
    mean = x.mean(0)
    centred = x - mean
    eye = torch.eye(width)
    both = torch.cat([eye, -eye])
    _, vectors = torch.linalg.eigh((centred.double().T @ centred.double()) / len(x))
    components = vectors.T.flip(0)[: min(k, width)].float()
    drawn = torch.randn(n_units, width, generator=torch.Generator().manual_seed(seed))
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    kept = min(k, n_units)
    best = (centred @ drawn.T).relu().topk(kept, dim=-1)
    guess = torch.zeros(len(x), n_units).scatter(-1, best.indices, best.values) @ drawn
    gain = float((centred * guess).sum() / (guess * guess).sum().clamp(min=1e-12))
    shift = mean.numpy()
    plain, turned, random = both.numpy(), components.numpy(), drawn.numpy()
    chosen = min(k, 2 * width)
    return {
        "neurons": Basis("neurons", "directions", plain, plain, decoder_bias=shift, activation="topk", k=chosen),
        "pca": Basis("pca", "directions", turned, turned, decoder_bias=shift),
        "random": Basis("random", "directions", gain * random, random, decoder_bias=shift, activation="topk", k=kept),
    }
