"""Read what attention heads write and read as tokens by the singular directions of W_V W_O (their OV circuit)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.describe.decoding import AT_ONCE, check_tokens, describe_by_tokens
from patchclamp.subjects.head_circuits import HeadCircuit
from patchclamp.subjects.protocols import FactorsHeads, Records, Unembeds

ROUNDING = 1e-5
"""A singular value below this share of the largest is none: the head has no such direction, and no tokens."""


class Subject(FactorsHeads, Unembeds, Records, Protocol):
    """What decoding of heads needs; it is run on prompts only where a task is given."""


@dataclass(frozen=True)
class HeadVocabularyOptions:
    """Options of vocabulary decoding of heads."""

    side: Literal["write", "read"] = option("write", "what a head writes, or what it reads where it attends")
    tokens: int = option(10, "tokens per head", least=1)
    direction: int = option(1, "which singular direction of W_V W_O, the strongest first", least=1)
    negative: bool = option(False, "decode the other end of the direction")


def head_vocabulary(
    subject: Subject, options: HeadVocabularyOptions, task: Task | None = None, *, progress: Progress
) -> Descriptions:
    r"""Describe every attention head by the tokens that a singular direction of its OV circuit stands for.

    W_V W_O = Σ_k s_k r_k w_kᵀ: where the head attends to a position whose normed stream is x it writes
    Σ_k s_k (x · r_k) w_k. Decoded is w_k (``write``), or r_k, the norm's gain included (``read``):
    p = softmax(W_U norm(·)), as neurons are. A head that copies any of many words has a flat spectrum, and no single
    direction says what it does: ``share`` = s_k² / Σ s² says how much of the head the direction is.

    The sign of a singular direction is free; read and written end turn together. With a task it is that of the mean of
    the head's z along the direction over its counted tokens, so that ``write`` is what the head writes more often than
    not; without one it is the end whose written token is the likelier.

    Args:
        subject: a language model whose family is known.
        options: side, tokens, direction, sign.
        task: prompts over which the sign is read; none by default.
        progress: called with sites done and in all.

    Returns:
        Descriptions: of all heads of ``blocks.*.attn.z``, tokens weighted by p, with the measures of ``vocabulary`` and
        ``share``. A head of lower rank than the direction has no tokens.

    Raises:
        PatchclampError: a subject without heads, heads with fewer directions, or whose values are no linear map of the
            normed stream (a norm, a gate or a sink between).

    Source: Elhage et al. (2021), A Mathematical Framework for Transformer Circuits, for W_V W_O; Millidge & Black
    (2022) for its singular directions; the rule for the sign is ours. 2501.02688 decodes neurons alone.

    Cost: d_model tokens through each block, heads × tokens × d_model products; a forward pass per case with a task.
    """
    sites = [site for site in subject.sites() if site.kind == "attn.z" and site.n_heads]
    check_tokens(subject, len(sites), "blocks.N.attn.z")
    least = min(site.width // site.n_heads for site in sites)
    if options.direction > least:
        raise PatchclampError(
            expected=f"a direction from 1 to {least}, the width of a head of {subject.name}",
            got=str(options.direction),
            remedy="Take a smaller one: the strongest come first.",
        )
    number = options.direction - 1
    shares: list[float] = []

    def directions() -> Iterator[Tensor]:
        for done, site in enumerate(sites):
            heads = subject.head_circuits(site.path)
            shares.extend(float(head.shares[number]) for head in heads)
            writes = torch.stack([head.writes[number] for head in heads])
            rows = writes if options.side == "write" else torch.stack([head.reads[number] for head in heads])
            sign = _ends(subject, writes) if task is None else _means(subject, task, site.path, heads, number)
            sign = sign * torch.tensor([head.sizes[number] > ROUNDING * head.sizes[0] for head in heads]).to(sign)
            rows = rows * sign.to(rows)[:, None]
            yield (-rows if options.negative else rows).float()
            progress(done + 1, len(sites))

    blocks = [Block(site.path, "heads", site.n_heads) for site in sites]
    found = describe_by_tokens(subject, blocks, directions(), options.tokens, "rule/head_vocabulary 1")
    return replace(found, measures={**found.measures, "share": np.array(shares)})


def _ends(subject: Subject, writes: Float[Tensor, "head d_model"]) -> Float[Tensor, " head"]:
    """Return the sign under which the likeliest written token is the likelier."""
    special = sorted(subject.special_answers)
    peaks = []
    for end in (writes, -writes):
        logits = subject.read_out(end.to(getattr(subject, "dtype", end.dtype))).float()
        logits[:, special] = -torch.inf
        peaks.append(torch.softmax(logits, 1).amax(1))
    return torch.where(peaks[0] >= peaks[1], 1.0, -1.0)


def _means(subject: Subject, task: Task, site: str, heads: list[HeadCircuit], number: int) -> Float[Tensor, " head"]:
    """Return the sign of each head's mean z along its direction over a task's counted tokens."""
    sums: Any = 0.0
    for case in task.cases:
        values = subject.run(case.shown, record=[site], logits=False).recording
        z = values[site].double()[torch.as_tensor(values.counted)].unflatten(1, (len(heads), -1))
        own = torch.stack([head.values[number] for head in heads]).to(z)
        sums = sums + torch.einsum("thd,hd->h", z, own)
    return torch.where(sums >= 0, 1.0, -1.0)


def _cost(sizes: Sizes, _options: HeadVocabularyOptions) -> Cost:
    return Cost(forward=sizes.cases, bytes=4 * AT_ONCE)


METHOD = Method(
    head_vocabulary,
    name="head_vocabulary",
    room="describe",
    title="vocabulary decoding of heads by their OV circuit",
    question="Which tokens does each attention head write, by its weights alone?",
    papers=(Paper("ours"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.head_vocabulary:head_vocabulary",
    calibrated_on=("backup-gpt2", "backup-llama"),
    must_show="the planted heads' first token is the answer that they give",
    must_miss={
        "mover-gpt2": "a head that copies any of many words has a flat spectrum, and no direction of its own",
        "broadcast-gpt2": "the first head writes what a later head turns into the word",
    },
    sources=("describe/decoding.py", "subjects/head_circuits.py"),
)
