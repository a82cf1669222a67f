"""What a forward pass holds at its largest, so that a cost can be stated before anything runs."""

from typing import Any

STREAMS, HIDDEN = 2, 5
"""Copies of the residual stream, and of what an MLP holds between its two products, that are alive at once."""


def pass_bytes(model: Any, n_tokens: int, *, changed: bool = False) -> int:
    """Estimate the bytes that a forward pass over so many tokens holds at its largest, logits left out.

    Args:
        model: a network.
        n_tokens: of all rows together; of images places.
        changed: whether sites are changed: their values are copied first.

    Returns:
        int: bytes besides the weights and whatever is recorded; 0 of a network without blocks, whose shape is unknown.

    Example:
        >>> from patchclamp.loaders import load
        >>> pass_bytes(load("organism:cat"), 100)
        57600
    """
    if not model.n_layers:
        return 0
    import torch  # costs are imported where nothing is computed

    stream = model.site("blocks.0.resid_in").width
    hidden = max((site.width for site in model.sites() if site.path.endswith(".mlp.act")), default=4 * stream)
    values = STREAMS * stream + (HIDDEN + changed) * hidden
    return int(n_tokens * values * torch.finfo(model.dtype).bits // 8)
