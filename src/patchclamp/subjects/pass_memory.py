"""How much memory a row of a forward or backward pass takes, known before anything is run."""

from collections.abc import Collection

import torch

from patchclamp.core.site import Site
from patchclamp.subjects.model import Model

NEURON, GATED = 4, 3
"""Values of each MLP neuron that a pass holds at once, and keeps until a backward pass: a GELU in steps, and a gate."""
STREAMS = 2
"""Residual streams that a block holds: what it read, and what its norm gives."""
ATTENTION = 4
"""Queries, keys, values and what attention gives."""
BACK = 3
"""Gradients of the widest site that a backward pass holds at a time."""
EVERYWHERE = 6
"""Copies of the widest site of a network without blocks that a backward pass holds at a time."""
PYTHON = 5 * 2**19
"""Bytes of hooks, keys and batches while a network is run, which are few but all there is of a small one."""


def count_forward_bytes(model: Model, n_positions: int, replaced: Collection[str] = (), *, copies: int = 1) -> int:
    """Return the bytes of one row of a forward pass without gradients, with the logits of one position.

    Args:
        model: the subject.
        n_positions: length of the prompt.
        replaced: kinds of sites whose units are replaced, such as ``mlp.act``.
        copies: of a replaced site's values that are held; 3 where almost all of its units are replaced.

    Returns:
        int: bytes besides the weights and whatever is recorded.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> count_forward_bytes(cat, 4) < count_forward_bytes(cat, 4, ["mlp.act"])
        True
    """
    size = torch.finfo(model.dtype).bits // 8
    sites = {site.path: site for site in model.sites()}
    if not model.n_layers:
        widest = max((site.width for site in sites.values()), default=1)
        places = max([site.n_places or n_positions for site in sites.values()], default=n_positions)
        return size * places * widest * (2 + (1 + copies if replaced else 0))
    most = 0
    for layer in range(model.n_layers):
        stream, attention, neurons, keep = _block(sites, layer)
        attending = ATTENTION * attention + copies * attention * ("attn.z" in replaced)
        attending += _pattern(model, sites, layer, n_positions)
        most = max(most, attending, keep * neurons + copies * neurons * ("mlp.act" in replaced))
    # Where units are replaced the row begins at a block, from a stream of its own.
    values = (STREAMS + bool(replaced)) * stream + most
    return size * (n_positions * values + model.n_answers) + (4 * model.n_answers if size < 4 else 0)


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
        return size * places * (sum(site.width for site in sites.values()) + EVERYWHERE * widest)
    each = 0
    for layer in range(first_layer, model.n_layers):
        stream, attention, neurons, keep = _block(sites, layer)
        each += STREAMS * stream + ATTENTION * attention + keep * neurons + _pattern(model, sites, layer, n_positions)
    return size * n_positions * (each + BACK * widest)


def _block(sites: dict[str, Site], layer: int) -> tuple[int, int, int, int]:
    """Return the widths of a block's stream, attention and MLP, and how often a pass holds each neuron."""
    own = {path.split(".", 2)[2]: site.width for path, site in sites.items() if path.startswith(f"blocks.{layer}.")}
    stream, attention, neurons = (own.get(kind, 0) for kind in ("resid_in", "attn.z", "mlp.act"))
    return stream, attention, neurons, GATED if "mlp.up" in own else NEURON


def _pattern(model: Model, sites: dict[str, Site], layer: int, n_positions: int) -> int:
    """Return the values of a position's attention that are held, before and after the softmax, where it is computed."""
    z = sites.get(f"blocks.{layer}.attn.z")
    eager = getattr(getattr(model.module, "config", None), "_attn_implementation", "") == "eager"
    return 2 * max(z.n_heads, 1) * n_positions if z is not None and eager else 0
