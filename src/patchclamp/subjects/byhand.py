"""By hand: the same change in plain PyTorch, written without the engine, for the contract to compare with."""

import inspect
import sys
from typing import Any

import torch
from torch import Tensor

from patchclamp.core.site import Site
from patchclamp.subjects.engine import Chunk, Expert, Tap
from patchclamp.subjects.language import Batch, LanguageModel


def gap(a: Tensor, b: Tensor, relative: bool = False) -> float:
    """Return max |a − b|, in b's own scale where ``relative``."""
    scale = float(b.abs().max()) if relative else 1.0
    return float((a.float() - b.float()).abs().max()) / (scale or 1.0)


def added_by_hand(model: LanguageModel, site: Site, batch: Batch, row: int, column: int, delta: Tensor) -> Tensor:
    """Return ``(tokens, vocabulary)`` logits with δ added at one site, row and column by a hook written out here.

    Args:
        model: supplies the network and, for each site, the module where it lies.
        site: where.
        batch: what is shown.
        row: which stimulus.
        column: which column of the padded rectangle.
        delta: ``(width,)`` what is added; for a pattern ``(head · source,)``.
    """
    place = model._place(site.path)[1]
    module: Any = model.module.get_submodule(place.module)
    inputs = bare_inputs(model, batch)
    part = slice(None)
    if isinstance(place, Chunk):
        part = slice(place.index * site.width, (place.index + 1) * site.width)

    def add(x: Tensor) -> None:
        """Add δ in place; some modules have the tokens of all rows on one axis."""
        x.view(*batch.ids.shape, -1)[row, column, part] += delta

    if isinstance(place, Expert):
        return _in_expert(model, module, place.number, batch, inputs, row, column, delta)

    if isinstance(place, Tap):
        return _in_attention(model, module, place.slot, batch, inputs, row, column, delta)

    if place.side == "out":

        def after(_m: Any, _a: Any, output: Any) -> Any:
            x = output[0] if isinstance(output, tuple) else output
            y = x.clone()
            add(y)
            return (y, *output[1:]) if isinstance(output, tuple) else y

        handle = module.register_forward_hook(after)
    else:

        def before(_m: Any, args: Any, kwargs: Any) -> Any:
            x = args[0] if args else kwargs["hidden_states"]
            if place.shared:
                add(x)
                return None
            y = x.clone()
            add(y)
            return ((y, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": y})

        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with torch.no_grad():
            return batch.rows(model.module(**inputs).logits)
    finally:
        handle.remove()


def bare_inputs(model: LanguageModel, batch: Batch) -> dict[str, Any]:
    """Return what the bare network is called with, as its own documentation says."""
    inputs: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False}
    if batch.padded:
        inputs["attention_mask"] = (batch.logical >= 0).long()
    if "position_ids" in inspect.signature(model.module.forward).parameters:
        # Embeddings with this method number tokens from the padding id on. The family's own word is not taken for it.
        own = (m.padding_idx + 1 for m in model.module.modules() if hasattr(m, "create_position_ids_from_input_ids"))
        inputs["position_ids"] = batch.logical.clamp(min=0) + next(own, 0)
    return inputs


def _in_expert(
    model: LanguageModel, module: Any, number: int, batch: Batch, inputs: Any, row: int, column: int, delta: Tensor
) -> Tensor:
    """Add δ to one expert's neurons at one token: in the row that is nearest to what this expert makes of the token."""
    token = row * batch.ids.shape[1] + column
    made: list[Tensor] = []

    def before(_m: Any, args: Any) -> None:
        made[:] = [module.gate_up_proj[number] @ args[0][token]]

    bare = module._apply_gate

    def gate(both: Tensor) -> Tensor:
        act: Tensor = bare(both).clone()
        act[int((both - made[0]).abs().amax(-1).argmin())] += delta
        return act

    handle = module.register_forward_pre_hook(before)
    module._apply_gate = gate
    try:
        with torch.no_grad():
            return batch.rows(model.module(**inputs).logits)
    finally:
        handle.remove()
        del module._apply_gate


def _in_attention(
    model: LanguageModel, module: Any, slot: str, batch: Batch, inputs: Any, row: int, column: int, delta: Tensor
) -> Tensor:
    """Add δ inside one attention module, through an attention function (or method) of our own."""
    heads = {"q": model.module.config.num_attention_heads, "pattern": model.module.config.num_attention_heads}
    count = heads.get(slot) or getattr(model.module.config, "num_key_value_heads", None) or heads["q"]
    per_head = delta.view(count, -1)

    def changed(x: Tensor) -> Tensor:
        y = x.clone()
        y[row, :, column] += per_head
        return y

    def attend(bare: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Any:
        q, k, v = (changed(x) if slot == name else x for name, x in (("q", q), ("k", k), ("v", v)))
        z, pattern = bare(q, k, v, *args, **kwargs)
        if slot == "pattern":
            pattern = changed(pattern)
            z = torch.matmul(pattern, v.repeat_interleave(pattern.shape[1] // v.shape[1], dim=1))
            z = z if method else z.transpose(1, 2).contiguous()
        return z, pattern

    method = model.engine.attention_method
    with torch.no_grad():
        if method is not None:
            bare = getattr(module, method)
            setattr(module, method, lambda *a, **k: attend(bare, *a, **k))
            try:
                return batch.rows(model.module(**inputs).logits)
            finally:
                delattr(module, method)
        return batch.rows(_with_function(model, module, attend, inputs).logits)


def _with_function(model: LanguageModel, module: Any, attend: Any, inputs: Any) -> Any:
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
    before = model.module.config._attn_implementation
    model.module.set_attn_implementation("byhand")
    try:
        return model.module(**inputs)
    finally:
        model.module.set_attn_implementation(before)
