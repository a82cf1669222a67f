"""Directions of the residual stream as tokens: the likeliest of each, and whether they make one concept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block, UnitIndex
from patchclamp.core.provenance import Provenance
from patchclamp.describe.token_concepts import share_concept
from patchclamp.subjects.language_lacks import refuse_no_tokens

AT_ONCE, AT_ONCE_ELSEWHERE = 2**25, 2**28
"""Logits that are held at once by a processor, and by an accelerator."""
IN_CACHE = 2**22
"""Logits whose softmax a processor takes at once; fewer and its threads wait for each other."""


def describe_by_tokens(
    subject: Any,
    blocks: Sequence[Block],
    directions: Iterable[Float[Tensor, "unit d_model"]],
    most: int,
    author: str,
    more: Mapping[str, Float[np.ndarray, " unit"]] | None = None,
) -> Descriptions:
    """Describe units by the tokens that directions of the stream stand for, p = softmax(W_U norm(direction)).

    Args:
        subject: a language model.
        blocks: the units.
        directions: of the units of each block, one block after another; they are read once.
        most: tokens per unit.
        author: of the descriptions.
        more: further measures, if any.

    Returns:
        Descriptions: tokens weighted by p. Measures: ``peak``, p of the first token; ``specialised``, that times
        ``concept``, the share of the tokens that are of the first one's concept; ``margin``, log p of the first less
        that of the second. A unit whose direction is zero has no token.

    Source: 2501.02688; ``specialised`` and ``concept`` are ours.

    Cost: a product of units × d_model × tokens, at most ``AT_ONCE`` logits at once.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> blocks, rows = [Block("blocks.0.mlp.act", "neurons", 8)], cat.write_directions("blocks.0.mlp.act", slice(8))
        >>> describe_by_tokens(cat, blocks, [rows], 1, "").text(7)
        ' sat'
    """
    special = sorted(subject.special_answers)
    found = [_decode(subject, rows, min(most, subject.n_answers - len(special)), special) for rows in directions]
    ids, p, margin = (np.concatenate(parts) for parts in zip(*found, strict=True))
    words = [subject.answer_name(i) for i in range(subject.n_answers)]
    kin = share_concept(subject, words, ids)
    measures = {
        "peak": p[:, 0].copy(),
        "specialised": p[:, 0] * kin.mean(1),
        "concept": kin.mean(1),
        "margin": margin,
        **(more or {}),
    }
    index = UnitIndex(list(blocks), subject.name)
    about = Provenance(extra={"tied_embeddings": bool(subject.tied_embeddings)})
    return Descriptions(index, ids, p, words, author, "probability", measures, provenance=about)


def _decode(
    subject: Any, rows: Float[Tensor, "unit d_model"], most: int, special: Sequence[int]
) -> tuple[Int[np.ndarray, "unit rank"], Float[np.ndarray, "unit rank"], Float[np.ndarray, " unit"]]:
    """Return ids, probabilities and margins of the likeliest tokens of directions, block by block."""
    here = rows.device.type == "cpu"
    dtype = getattr(subject, "dtype", rows.dtype)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in rows.split(max(1, (AT_ONCE if here else AT_ONCE_ELSEWHERE) // subject.n_answers)):
        logits = subject.read_out(part.to(dtype))  # (unit, token)
        logits[:, special] = -torch.inf
        best, ids = logits.topk(most, dim=1)
        if not found:  # memory that is touched for the first time is slow: one place for every softmax
            room = torch.empty_like(logits[: max(1, IN_CACHE // subject.n_answers) if here else None])
        p = _probabilities(logits, ids, room)
        margin = best[:, 0].float() - best[:, min(1, most - 1)].float()
        empty = ~part.any(1)
        ids[empty], p[empty], margin[empty] = -1, 0.0, 0.0
        found.append((ids, p, margin))
    tokens, shares, leads = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return tokens, shares, leads


def _probabilities(
    logits: Float[Tensor, "unit token"], ids: Int[Tensor, "unit rank"], room: Float[Tensor, "some token"]
) -> Float[Tensor, "unit rank"]:
    """Return softmax of the logits at some tokens, float32, taken in ``room``.

    Sums are in float32 whatever the logits are. In half precision p itself is rounded, to no less than its logit is.
    """
    parts = zip(logits.split(len(room)), ids.split(len(room)), strict=True)
    return torch.cat([torch.softmax(part, 1, out=room[: len(part)]).gather(1, at).float() for part, at in parts])


def check_tokens(subject: Any, n_sites: int, what: str) -> None:
    """Refuse a subject that does not predict tokens, or that has none of the sites.

    Args:
        subject: a language model.
        n_sites: how many of the sites it has.
        what: the sites, ``blocks.N.mlp.act``.

    Raises:
        PatchclampError: says which.

    Example:
        >>> from patchclamp.loaders import load
        >>> check_tokens(load("organism:cat"), 1, "blocks.N.mlp.act")
    """
    if not subject.n_answers:
        refuse_no_tokens(subject, "what units promote")
    if not n_sites:
        raise PatchclampError(
            expected=f"a language model whose family is known, with sites {what}",
            got=f"{subject.name}, which has none",
            remedy="Take another model, or add its family: docs/howto/family.md.",
        )
