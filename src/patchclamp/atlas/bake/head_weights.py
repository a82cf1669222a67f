"""What attention heads write and match by their weights alone: tokens through W_V W_O, and through W_Q W_K."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.placement import bring_weights
from patchclamp.subjects.relevance_rules import subtracts_mean

MOST_SOURCES, MOST_WRITING, PER_SOURCE, MOST_MATCHES = 256, 10, 3, 12
"""Frequent tokens that are tried; sources that are kept of a head, tokens promoted by each, and matched pairs."""
ROUNDING = 1e-5

Rows = list[tuple[int, int, float]]
"""Source, target, weight."""


@dataclass(frozen=True)
class HeadWeights:
    """What the weights of one head say of frequent tokens.

    Args:
        writes: source, promoted token, logits; three tokens for each of the sources that promote most.
        matches: source, target, q · k by how much it exceeds the target's mean; one source per target.
        copies: share of the frequent tokens that the head promotes most where it attends to them,
        erases: and of those that it suppresses most.
    """

    writes: Rows
    matches: Rows
    copies: float
    erases: float


def head_weights(model: LanguageModel, site: Site, tokens: Sequence[int]) -> Iterator[HeadWeights]:
    """Yield, head by head of a block, what its weights say of tokens.

    The block reads each token's bare embedding, alone at the first position, so that no position plays a part: W_V of
    the normed embedding goes through the head's W_O, the final norm's gain and the unembedding, biases and the mean
    over the vocabulary taken off, and no norm divides. Queries and keys are those that the block makes of the
    embeddings: rotary models turn them with the distance, which is left out.

    Args:
        model: the subject.
        site: the heads of a block.
        tokens: ids of the tokens that are tried.

    Yields:
        HeadWeights: of each head, in their order.

    Source: Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.

    Cost: a product of tokens × d_model × vocabulary per head.
    """
    layer = site.layer or 0
    slots = {slot: f"blocks.{layer}.attn.{slot}" for slot in ("q", "k", "z")}
    embedding = model.module.get_input_embeddings()
    with torch.no_grad():
        ids = torch.tensor(list(tokens), device=model.device)
        bare = embedding(ids)[:, None]  # (token, position, d_model)
        bare = torch.cat([bare, torch.zeros_like(bare[:1])]).to(model.dtype)  # the last gives what biases write
        shown = [Stimulus.of(np.array([id], dtype=np.int64)) for id in (*tokens, tokens[0])]
        recorded = model.run(shown, record=list(slots.values()), logits=False, restart=Restart(layer, bare)).recording
        z, q, k = (upcast(recorded[slots[slot]]) for slot in ("z", "q", "k"))
        z = z[:-1] - z[-1:]
        scale = _scale(model, slots["q"])
        queries, keys = (x[:-1].unflatten(-1, (model.site(slots[s]).n_heads, -1)) for x, s in ((q, "q"), (k, "k")))
        group = queries.shape[1] // keys.shape[1]  # query heads per key-value head
        for head in range(site.width):
            scores, least = _find_promoted(model, slots["z"], z, head, site.width)
            query, key = queries[:, head], keys[:, head // group]
            match = (query @ key.T * scale).cpu()  # (target, source)
            own = scores[torch.arange(len(tokens)), torch.as_tensor(tokens)]
            loud = scores.abs().amax(1) > least
            yield HeadWeights(
                writes=_writes(scores, tokens, least),
                matches=_matches(match, tokens, float(_longest(query) * _longest(key) * abs(scale)) * ROUNDING),
                copies=float(((own >= scores.amax(1)) & loud).float().mean()),
                erases=float(((own <= scores.amin(1)) & loud).float().mean()),
            )


def _find_promoted(
    model: LanguageModel, path: str, z: Float[Tensor, "token width"], head: int, n_heads: int
) -> tuple[Float[Tensor, "token vocabulary"], float]:
    """Return the logits that a head's values promote, before any division by a norm, their mean taken off.

    And below what size they are rounding: a head may write where the unembedding does not read.
    """
    size = z.shape[1] // n_heads
    own = torch.zeros_like(z)
    own[:, head * size : (head + 1) * size] = z[:, head * size : (head + 1) * size]
    written = model.write_to_stream(path, own.to(model.dtype))
    logits = upcast(model.read_out(written)).cpu()
    family = model.covering_family()
    if not family.head:  # a head that does more than unembed is no linear map
        norm: nn.Module = model.module.get_submodule(family.final_path(model.module))
        centred = upcast(written)
        if subtracts_mean(norm):
            centred = centred - centred.mean(1, keepdim=True)
        logits = logits * centred.square().mean(1, keepdim=True).sqrt().cpu()
    with bring_weights(model.head):
        unembedding = getattr(model.head, "weight", None)
        longest = _longest(unembedding) if isinstance(unembedding, Tensor) and unembedding.is_floating_point() else 0.0
    scores = logits - logits.mean(1, keepdim=True)
    return scores, ROUNDING * max(float(scores.abs().max()), float(_longest(written)) * float(longest))


def _longest(rows: Float[Tensor, "row width"]) -> Tensor:
    return torch.linalg.vector_norm(upcast(rows), dim=-1).max()


def _scale(model: LanguageModel, path: str) -> float:
    place: Any = model._place(path)[1]
    return float(model.covering_family().scale(model.module.get_submodule(place.module)))


def _writes(scores: Float[Tensor, "token vocabulary"], tokens: Sequence[int], least: float) -> Rows:
    k = min(PER_SOURCE, scores.shape[1])
    loudest = scores.amax(1).sort(descending=True, stable=True).indices[:MOST_WRITING]
    best = scores[loudest].sort(dim=1, descending=True, stable=True)
    return [
        (int(tokens[i]), target, weight)
        for i, targets, weights in zip(
            loudest.tolist(), best.indices[:, :k].tolist(), best.values[:, :k].tolist(), strict=True
        )
        for target, weight in zip(targets, weights, strict=True)
        if weight > least
    ]


def _matches(scores: Float[Tensor, "target source"], tokens: Sequence[int], least: float) -> Rows:
    centred = scores - scores.mean(1, keepdim=True)
    best = centred.max(1)
    order = best.values.sort(descending=True, stable=True).indices[:MOST_MATCHES].tolist()
    return [
        (int(tokens[int(best.indices[i])]), int(tokens[i]), float(best.values[i]))
        for i in order
        if float(best.values[i]) > least
    ]
