"""A change in plain PyTorch, written by hand without the engine, for the contract to compare with."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.site import Site
from patchclamp.subjects.contract.part import Probe
from patchclamp.subjects.engine import Expert, Tap
from patchclamp.subjects.moe import project_in


def max_abs_difference(a: Tensor, b: Tensor, relative: bool = False) -> float:
    """Return max |a − b|, in b's own scale where ``relative``.

    Returns:
        float: at least 0.

    Example:
        >>> max_abs_difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), relative=True)
        0.5
    """
    scale = float(b.abs().max()) if relative else 1.0
    return float((a.float() - b.float()).abs().max()) / (scale or 1.0)


def add_by_hand(probe: Probe, site: Site, stimulus: int, column: int, delta: Tensor) -> Tensor:
    """Return ``(row, class)`` logits with δ added at one site, stimulus and column by a hook written out here.

    Args:
        probe: supplies the network, what it is shown and, for each site, the module where it lies.
        site: where.
        stimulus: which stimulus.
        column: which column of the batch as the network has it.
        delta: ``(width,)`` what is added; for a pattern ``(head · source,)``.

    Returns:
        Tensor: of all rows of the batch, in their order.
    """
    place = probe.model._place(site.path)[1]
    module: Any = probe.model.module.get_submodule(place.module)
    if isinstance(place, Expert):
        return _add_in_expert(probe, module, place.number, stimulus, column, delta)
    if isinstance(place, Tap):
        return _add_in_attention(probe, module, place.slot, stimulus, column, delta)

    def add_change(x: Tensor) -> Tensor:
        # A shared tensor is add_change in itself, so that the residual branch has the change too.
        y = x if place.shared and place.side == "in" else x.clone()
        here = probe.values_at(y, site, stimulus, column)
        here.add_(delta.view(here.shape) / getattr(place, "factor", 1))
        return y

    def after(_m: Any, _a: Any, output: Any) -> Any:
        return (add_change(output[0]), *output[1:]) if isinstance(output, tuple) else add_change(output)

    def before(_m: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (add_change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": add_change(kwargs["hidden_states"])}

    handle = (
        module.register_forward_hook(after)
        if place.side == "out"
        else module.register_forward_pre_hook(before, with_kwargs=True)
    )
    try:
        return probe.bare()
    finally:
        handle.remove()


def _add_in_expert(probe: Probe, module: Any, number: int, stimulus: int, column: int, delta: Tensor) -> Tensor:
    """Add δ to one expert's neurons at one token: in the row that is nearest to what this expert makes of the token."""
    made: list[Tensor] = []

    def before(_m: Any, args: Any) -> None:
        token = stimulus * (len(args[0]) // len(probe.stimuli)) + column
        made[:] = [project_in(module, number, args[0][token])]

    bare = module._apply_gate

    def gate(both: Tensor) -> Tensor:
        act: Tensor = bare(both).clone()
        act[int((both - made[0]).abs().amax(-1).argmin())] += delta
        return act

    handle = module.register_forward_pre_hook(before)
    module._apply_gate = gate
    try:
        return probe.bare()
    finally:
        handle.remove()
        del module._apply_gate


def _add_in_attention(probe: Probe, module: Any, slot: str, stimulus: int, column: int, delta: Tensor) -> Tensor:
    """Add δ inside one attention module, through an attention function (or method) of our own."""
    method = probe.model.engine.attention_method

    def add_change(x: Tensor) -> Tensor:
        y = x.clone()
        y[stimulus, :, column] += delta.view(x.shape[1], -1)
        return y

    def attend(bare: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
        q, k, v = (add_change(x) if slot == name else x for name, x in (("q", q), ("k", k), ("v", v)))
        z, pattern = bare(q, k, v, *args, **kwargs)
        if slot == "pattern":
            pattern = add_change(pattern)
            z = torch.matmul(pattern, v.repeat_interleave(pattern.shape[1] // v.shape[1], dim=1))
            z = z if method else z.transpose(1, 2).contiguous()
        return z, pattern

    if probe.model.engine.written_out:
        return _with_torch_replaced(probe, module, slot, add_change)
    if method is None:
        return _with_function(probe, module, attend)
    bare = getattr(module, method)
    setattr(module, method, lambda *a, **k: attend(bare, *a, **k))
    try:
        return probe.bare()
    finally:
        delattr(module, method)


def _with_function(probe: Probe, module: Any, attend: Callable[..., Any]) -> Tensor:
    """Call the network with an attention function of our own registered for one module."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    eager = sys.modules[type(module).__module__].eager_attention_forward

    def function(m: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **kwargs: Any) -> Any:
        if m is not module:
            return eager(m, q, k, v, mask, **kwargs)
        return attend(lambda *a, **kw: eager(m, *a, **kw), q, k, v, mask, **kwargs)

    ALL_ATTENTION_FUNCTIONS.register("byhand", function)
    ALL_MASK_ATTENTION_FUNCTIONS.register("byhand", eager_mask)
    before = probe.model.module.config._attn_implementation
    probe.model.module.set_attn_implementation("byhand")
    try:
        return probe.bare()
    finally:
        probe.model.module.set_attn_implementation(before)


def _with_torch_replaced(probe: Probe, module: Any, slot: str, add_change: Callable[[Tensor], Tensor]) -> Tensor:
    """Call the network with torch's own functions replaced by ones that add δ while one module runs."""
    torches: Any = torch
    functional, tensors = torches.nn.functional, torches.Tensor
    running: list[bool] = []
    fused, softmax, batched = functional.scaled_dot_product_attention, functional.softmax, torches.bmm
    added = tensors.baddbmm

    def show(name: str, x: Tensor) -> Tensor:
        if name != slot or not running:
            return x
        return add_change(x) if x.ndim == 4 else add_change(x.unflatten(0, (-1, module.num_heads))).flatten(0, 1)

    def attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor, **_: Any) -> Tensor:
        q, k, v = show("q", q), show("k", k), show("v", v)
        scores = torch.matmul(q, k.transpose(-1, -2)) / q.shape[-1] ** 0.5
        scores = scores + attn_mask if attn_mask.is_floating_point() else scores.masked_fill(~attn_mask, -torch.inf)
        pattern = softmax(scores, dim=-1, dtype=torch.float32).nan_to_num().to(q.dtype)
        return torch.matmul(show("pattern", pattern), v)

    def add(bias: Tensor, *, batch1: Tensor, batch2: Tensor, **how: Any) -> Tensor:
        key = show("k", batch2.transpose(-1, -2)).transpose(-1, -2)
        return added(bias, batch1=show("q", batch1), batch2=key, **how)

    handles = [
        module.register_forward_pre_hook(lambda *_: running.append(True)),
        module.register_forward_hook(lambda *_: running.clear()),
    ]
    functional.scaled_dot_product_attention = attend
    functional.softmax = lambda x, **how: show("pattern", softmax(x, **how))
    torches.bmm = lambda x, y: batched(x, show("v", y))
    tensors.baddbmm = add
    try:
        return probe.bare()
    finally:
        functional.scaled_dot_product_attention, functional.softmax = fused, softmax
        torches.bmm = batched
        del tensors.baddbmm  # it is inherited
        for handle in handles:
            handle.remove()
