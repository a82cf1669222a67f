"""See and change queries, keys, values and patterns inside an attention function.

transformers looks attention functions up by name. The tap registers one name; it shows the tensors to whoever asked
and leaves the arithmetic to the model's own eager function, so tapped and eager logits are equal to the bit. The mask
function is registered under the same name: without it transformers passes no mask and raises nothing.

Some modules write their attention out instead (Falcon, BLOOM). There the products and the softmax that torch is asked
for are seen while the module runs, and torch's fused function is done by its definition.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from patchclamp.core.errors import CannotIntervene

Slot = Literal["q", "k", "v", "pattern"]
SLOTS: tuple[Slot, ...] = ("q", "k", "v", "pattern")
Visits = Mapping[Slot, Callable[[Tensor], Tensor]]
NAME = "patchclamp"

_active: "WeakKeyDictionary[nn.Module, list[Visits]]" = WeakKeyDictionary()


@contextmanager
def tap_attention(model: Any, visits: Mapping[nn.Module, Visits], *, native: bool = False) -> Iterator[None]:
    """Route a transformers model's attention through the tap while the context lasts.

    Args:
        model: a transformers model whose family uses the attention interface.
        visits: attention module to slot to visit; modules without visits compute plain eager attention.
        native: leave the arithmetic to the model's own function where that is sdpa, with its own mask; q, k and v can
            be visited then, patterns not.

    Yields:
        None: nothing; the attention function is the former one afterwards.

    Raises:
        CannotIntervene: the model does not take attention functions by name.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if before is None:
        raise CannotIntervene(
            expected="a transformers model that takes attention functions by name",
            got=type(model).__name__,
            remedy="Record attn.z or module sites instead.",
        )
    name, function, mask = NAME, _tap, eager_mask
    if native and before == "sdpa":
        name, mask = f"{NAME}_{before}", ALL_MASK_ATTENTION_FUNCTIONS[before]
        function = partial(_tap_before, ALL_ATTENTION_FUNCTIONS[before])
    ALL_ATTENTION_FUNCTIONS.register(name, function)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, mask)
    try:
        for module, slots in visits.items():
            _active.setdefault(module, []).append(slots)
        model.set_attn_implementation(name)
        yield
    finally:
        model.set_attn_implementation(before)
        for module, slots in visits.items():
            _active[module].remove(slots)


def _tap(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    """Attention function that transformers calls; shapes ``(batch, head, position, d_head)``."""
    eager = eager_of(module)
    layers = _active.get(module, [])
    query, key, value = (_show_values(layers, slot, x) for slot, x in (("q", query), ("k", key), ("v", value)))
    # output (batch, position, head, d_head); pattern (batch, head, query position, key position)
    output, pattern = eager(module, query, key, value, mask, **kwargs)
    new = _show_values(layers, "pattern", pattern)
    if new is not pattern:
        # z follows from the changed pattern: what the model computed from its own is thrown away.
        output = _mix(new, value).transpose(1, 2).contiguous()  # (batch, position, head, d_head)
    return output, new


def eager_of(module: Any) -> Callable[..., Any]:
    """Return the function with which a module computes eager attention: its file's, or GPT-2's other order of steps."""
    if getattr(module, "reorder_and_upcast_attn", False):
        return lambda _module, query, key, value, mask, **_: module._upcast_and_reordered_attn(query, key, value, mask)
    function: Callable[..., Any] = sys.modules[type(module).__module__].eager_attention_forward
    return function


def _tap_before(
    bare: Callable[..., Any], module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Show what goes into an attention function that keeps its pattern to itself."""
    layers = _active.get(module, [])
    query, key, value = (_show_values(layers, slot, x) for slot, x in (("q", query), ("k", key), ("v", value)))
    return bare(module, query, key, value, *args, **kwargs)


def tapped_method(bare: Callable[..., Any], slots: Visits) -> Callable[..., Any]:
    """Wrap an attention method ``(query, key, value, mask) → (z, pattern)``, z as ``(batch, head, position, d_head)``.

    The fallback for families outside the attention interface.
    """

    def method(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        query, key, value = (_show_values([slots], s, x) for s, x in (("q", query), ("k", key), ("v", value)))
        output, pattern = bare(query, key, value, *args, **kwargs)
        new = _show_values([slots], "pattern", pattern)
        return (output if new is pattern else _mix(new, value)), new

    return method


class WrittenOut(TorchFunctionMode):
    """Show what passes through the attention that a module's own forward writes out.

    Args:
        slots: what to show to whom.
        heads: number of heads, where these and the batch lie on one axis.
        native: leave torch's fused function to itself, which keeps its pattern.
    """

    def __init__(self, slots: Visits, heads: int, native: bool) -> None:
        super().__init__()
        self._slots, self._heads, self._native = slots, heads, native
        self._scored = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Stand in for one call of torch."""
        name, kwargs = func.__name__, dict(kwargs or {})
        if name == "scaled_dot_product_attention":
            return self._compute_attention(func, *args, **kwargs)
        if name == "baddbmm":
            self._scored = True
            kwargs["batch1"] = self._show("q", kwargs["batch1"])
            kwargs["batch2"] = self._show("k", kwargs["batch2"].transpose(-1, -2)).transpose(-1, -2)
        elif name == "matmul" and args[1].ndim == 4 and not self._scored:
            self._scored = True
            args = (self._show("q", args[0]), self._show("k", args[1].transpose(-1, -2)).transpose(-1, -2))
        elif name in ("matmul", "bmm") and args[1].ndim == args[0].ndim > 2 and self._scored:
            args = (args[0], self._show("v", args[1]))
        elif name == "softmax":
            return self._show("pattern", func(*args, **kwargs))
        return func(*args, **kwargs)

    def _show(self, slot: Slot, x: Tensor) -> Tensor:
        """Return a tensor as the visits leave it, ``(batch, head, position, …)`` to them."""
        if slot not in self._slots:
            return x
        apart = x.unflatten(0, (-1, self._heads)) if x.ndim == 3 else x
        new = self._slots[slot](apart)
        return x if new is apart else new.reshape(x.shape)

    def _compute_attention(self, func: Any, query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
        query, key, value = self._show("q", query), self._show("k", key), self._show("v", value)
        if self._native:
            fused: Tensor = func(query, key, value, **how)
            return fused
        return self._show("pattern", attention_pattern(query, key, how)) @ value


def attention_pattern(query: Tensor, key: Tensor, how: Mapping[str, Any]) -> Tensor:
    """Return the pattern that torch's fused function has of queries and keys, by its definition.

    Args:
        query: ``(batch, head, position, d_head)``.
        key: ``(batch, head, source, d_head)``; of one head, it serves all.
        how: the function's further arguments: ``attn_mask``, ``is_causal``.

    Returns:
        Tensor: ``(batch, head, position, source)``.
    """
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    mask = how.get("attn_mask")
    if how.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return (scores if mask is None else scores + mask).softmax(-1, dtype=torch.float32).to(query.dtype)
    pattern = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=torch.float32)
    # What sees nothing, as padding on the left does, gets nothing.
    return pattern.masked_fill(~mask.any(-1, keepdim=True), 0.0).to(query.dtype)


def _show_values(layers: list[Visits], slot: Any, x: Tensor) -> Tensor:
    """Return x as all visits of a slot leave it, those attached first before the others."""
    for slots in layers:
        if slot in slots:
            x = slots[slot](x)
    return x


def _mix(pattern: Tensor, value: Tensor) -> Tensor:
    """Return pattern · v per head, each key-value head serving its group of query heads."""
    groups = pattern.shape[1] // value.shape[1]  # query heads per key-value head
    return pattern @ (value.repeat_interleave(groups, dim=1) if groups > 1 else value)
