"""Which modules of a network have quantised weights, and whether gradients flow through them."""

import warnings
from collections.abc import Iterator

import torch
from torch import nn

RECORD = "record, clamp or replace units (activation_patching) instead"


def quantised_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules whose own weights are whole numbers or stand for them, by path.

    Args:
        root: the network.

    Yields:
        tuple: path and module.

    Example:
        >>> [path for path, _ in quantised_modules(nn.Sequential(nn.Linear(2, 2)))]
        []
    """
    converted = getattr(root, "hf_quantizer", None) is not None
    for path, module in root.named_modules():
        own = list(module.parameters(recurse=False))
        # torchao's tensors say that they are of floats, which they stand for. Some quantisers keep weights as buffers.
        stands_for = any(type(p.data).__module__.startswith("torchao") for p in own)
        if stands_for or any(not p.is_floating_point() for p in own) or (converted and hasattr(module, "qweight")):
            yield path, module


def reason_without_gradients(root: nn.Module) -> str:
    """Return why gradients do not flow through a network's quantised weights; empty where they do.

    One module of each kind is shown a vector and differentiated: quantisers do not say by themselves whether they
    support this, on this machine.

    Args:
        root: the network.

    Returns:
        str: the reason, in words.

    Cost: a product of one vector and one matrix for each kind of module.

    Example:
        >>> reason_without_gradients(nn.Sequential(nn.Linear(2, 2)))
        ''
    """
    asked: set[tuple[object, ...]] = set()
    for path, module in quantised_modules(root):
        weight = next((p for p in module.parameters(recurse=False) if not p.is_floating_point()), None)
        kind = (type(module), *((type(weight.data), weight.dtype, weight.device.type) if weight is not None else ()))
        if kind in asked:
            continue
        asked.add(kind)
        if not _differentiates(module):
            return f"weights are quantised, and {type(module).__name__} at {path} has no gradients here: {RECORD}"
    return ""


def _differentiates(module: nn.Module) -> bool:
    """Return whether a linear module's output has a gradient with respect to what it reads."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    width = getattr(module, "in_features", None) or next((x.shape[-1] for x in own if x.ndim == 2), None)
    if width is None:
        return False
    floats = [x.dtype for x in own if x.is_floating_point() and torch.finfo(x.dtype).bits > 8]
    # Offloaded weights are brought in when their module is called.
    device = "cpu" if own[0].device.type == "meta" else own[0].device
    x = torch.ones(1, 2, width, device=device, dtype=floats[0] if floats else torch.float32)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # A kernel without a derivative warns in words of its own, and gives none.
            warnings.filterwarnings("ignore", message=".*autograd kernel was not registered")
            # Some lay their weights out anew when they are first run without gradients, and have none afterwards.
            module(x)
            with torch.enable_grad():
                y = module(x.requires_grad_())
                [slope] = torch.autograd.grad(y.float().square().sum(), [x])
    # A quantiser may fail in any way of its own where it cannot differentiate.
    except Exception:
        return False
    return bool(torch.isfinite(slope).all()) and bool(slope.any())
