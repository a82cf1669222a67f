"""See and change the neurons of a mixture's experts, each for the tokens routed to it.

transformers keeps all weights of experts in two tensors, without a module for each. Its grouped and batched functions
both pass the gated product of every (token, expert) pair through one method of the module; that method is wrapped, and
all arithmetic stays the model's own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.errors import CannotIntervene

METHOD = "_apply_gate"
"""Turns the gate's and the other branch's values into their product."""
SORTED = {"grouped_mm": True, "batched_mm": False}
"""Function of transformers to whether it sorts the pairs by expert."""


def routed_tokens(x: Float[Tensor, "tokens width"]) -> Int[np.ndarray, " row"]:
    """Return the tokens that came by an expert: those whose values are not all NaN."""
    rows: np.ndarray = (~x.isnan().all(-1)).nonzero().flatten().cpu().numpy()
    return rows


def largest_shares(router: Any, logits: Float[Tensor, "token expert"]) -> Float[Tensor, "token expert"]:
    """Return the share that each expert has in each token, 0 where the token does not come by.

    The softmax of the logits over all experts; of it the k largest are kept, and sum to 1 unless the router says not.
    """
    best, which = logits.float().softmax(-1).topk(router.top_k)
    if getattr(router, "norm_topk_prob", True):
        best = best / best.sum(-1, keepdim=True)
    return torch.zeros_like(logits, dtype=best.dtype).scatter(-1, which, best)


def project_in(module: Any, number: int, x: Float[Tensor, "... width"]) -> Float[Tensor, "... both"]:
    """Return what one expert's gate makes its neurons of.

    Returns:
        Float[Tensor, "... both"]: the gate's and the other branch's values, as the module's own gate takes them.
    """
    return _project(module, "gate_up_proj", number, x)


def project_out(module: Any, number: int, act: Float[Tensor, "... neuron"]) -> Float[Tensor, "... width"]:
    """Return what one expert's neurons write.

    Returns:
        Float[Tensor, "... width"]: before it is multiplied by the expert's share.
    """
    return _project(module, "down_proj", number, act)


def _project(module: Any, name: str, number: int, x: Tensor) -> Tensor:
    weight, bias = getattr(module, name)[number], getattr(module, f"{name}_bias", None)
    y = x @ (weight if getattr(module, "is_transposed", False) else weight.T)
    return y if bias is None else y + bias[number]


def tap_experts(
    module: Any, visits: Sequence[tuple[int, Callable[[Tensor], Tensor]]]
) -> tuple[Callable[[Tensor], Tensor], Callable[..., None]]:
    """Return the method that stands in for the module's own, and a pre-hook that tells it the routes.

    Args:
        module: what holds the experts.
        visits: expert and visit; a visit sees ``(token, width)`` values, NaN where a token is routed elsewhere, and
            what it gives there is not looked at.

    Raises:
        CannotIntervene: the experts are computed by a function that shows no gated product.
    """
    kind = getattr(getattr(module, "config", None), "_experts_implementation", None)
    if kind not in SORTED or not hasattr(module, METHOD):
        raise CannotIntervene(
            expected=f"experts computed by {' or '.join(SORTED)}",
            got=f"{type(module).__name__} with {kind!r}",
            remedy="Call model.module.set_experts_implementation('grouped_mm'), or record mlp.router and mlp.write.",
        )
    bare = getattr(module, METHOD)
    routes: list[Tensor] = []

    def note(_module: Any, args: tuple[Any, ...]) -> None:
        routes[:] = [args[1]]

    def gate(both: Tensor) -> Tensor:
        act: Tensor = bare(both)
        [chosen] = routes
        pairs = chosen.reshape(-1)
        # The same call on the same tensor as in transformers' function, and so the same order of equal experts; a
        # stable sort would have another.
        expert, pair = torch.sort(pairs) if SORTED[kind] else (pairs, torch.arange(len(pairs), device=pairs.device))
        token = pair // chosen.shape[-1]
        for number, visit in visits:
            here = (expert == number).nonzero().flatten()
            shown = act.new_full((len(chosen), act.shape[-1]), torch.nan).index_put((token[here],), act[here])
            new = visit(shown)
            if new is not shown or torch.is_grad_enabled():
                act = act.index_put((here,), new[token[here]])
        return act

    return gate, note
