"""How much memory a row of a backward or forward pass takes, known before anything is run."""

import torch

from patchclamp.subjects.model import Model

EACH_NEURON, GATED = 4, 3
"""Values that are kept for each MLP neuron until the backward pass: of a GELU in several steps, and of a gated MLP."""
COPIES, REPLACING = 6, 10
"""Copies of the widest site that a pass holds at a time: a backward pass, and a forward pass that replaces units."""


def count_backward_bytes(model: Model, n_positions: int, first_layer: int = 0) -> int:
    """Return the bytes of one row of a forward and a backward pass from a block on.

    Args:
        model: the subject; its weights are frozen meanwhile, so that a linear map keeps nothing of what it reads.
        n_positions: length of the prompt.
        first_layer: the first block that runs.

    Returns:
        int: bytes of what is kept until the backward pass, and of that pass.

    Source: ours: a count of what PyTorch keeps for the derivative of each part of a block.

    Example:
        >>> from patchclamp.loaders import load
        >>> count_backward_bytes(load("organism:cat"), 4)
        17408
    """
    size = torch.finfo(model.dtype).bits // 8
    sites = {site.path: site for site in model.sites()}
    widest = max((site.width for site in sites.values()), default=1)
    if not model.n_layers:
        places = max([site.n_places or n_positions for site in sites.values()], default=n_positions)
        return size * places * (sum(site.width for site in sites.values()) + COPIES * widest)
    each = 0
    for layer in range(first_layer, model.n_layers):
        own = {path.split(".", 2)[2]: site for path, site in sites.items() if path.startswith(f"blocks.{layer}.")}
        widths = {kind: site.width for kind, site in own.items()}
        stream, attention, neurons = (widths.get(kind, 0) for kind in ("resid_in", "attn.z", "mlp.act"))
        # What both norms read; queries, keys, values and what attention gives; then the MLP.
        each += 2 * stream + 4 * attention + (GATED if "mlp.up" in own else EACH_NEURON) * neurons
        if _is_eager(model) and "attn.z" in own:
            each += 2 * max(own["attn.z"].n_heads, 1) * n_positions
    return size * n_positions * (each + COPIES * widest // 2)


def count_forward_bytes(model: Model, n_positions: int) -> int:
    """Return the bytes of one row of a forward pass without gradients, in which units are replaced.

    Args:
        model: the subject.
        n_positions: length of the prompt.

    Returns:
        int: bytes.

    Example:
        >>> from patchclamp.loaders import load
        >>> count_forward_bytes(load("organism:cat"), 4)
        10880
    """
    size = torch.finfo(model.dtype).bits // 8
    sites = model.sites()
    widest = max((site.width for site in sites), default=1)
    places = max([site.n_places or n_positions for site in sites], default=n_positions)
    # A mark for every unit of a set stands beside the values.
    marks = sum(site.width for site in sites if site.kind in ("mlp.act", "attn.z"))
    return places * (REPLACING * widest * size + marks)


def _is_eager(model: Model) -> bool:
    config = getattr(model.module, "config", None)
    return getattr(config, "_attn_implementation", "") == "eager"
