"""What the heads of one block attend to along a text that a reader wrote."""

from collections.abc import Callable

import numpy as np

from patchclamp.atlas.read.attention import AttentionPage, head_pattern
from patchclamp.atlas.read.reader import NotFound
from patchclamp.atlas.read.responses import Source, TokenView
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.language import LanguageModel

MOST_WEIGHTS = 65_536
"""Weights of one answer: eight heads over 128 tokens, or sixteen over 64."""


def attention_along(
    model: LanguageModel,
    stimulus: Stimulus,
    layer: int,
    head: int | None,
    *,
    spell: Callable[[int], TokenView],
    source: Source,
) -> AttentionPage:
    """Return the attention patterns of a block over a text.

    Args:
        model: the subject.
        stimulus: the text.
        layer: the block.
        head: one of its heads; all of them where None.
        spell: token id to how it is shown.
        source: where the answer comes from.

    Returns:
        AttentionPage: one pattern per head, each target's weights as the model computes them.

    Raises:
        NotFound: the model has no such block or head.
        PatchclampError: no patterns can be read of the model, or more weights than one answer holds.

    Cost: one forward pass up to the block, its attention computed step by step.
    """
    model.require("attention")
    path = f"blocks.{layer}.attn.pattern"
    site = next((site for site in model.sites() if site.path == path), None)
    if site is None or (head is not None and head >= site.n_heads):
        blocks = [one.layer for one in model.sites() if one.kind == "attn.pattern"]
        raise NotFound(
            expected=f"a block among {blocks[0]} to {blocks[-1]}, and one of its heads" if blocks else "attention",
            got=f"block {layer}" + ("" if head is None else f", head {head}"),
            remedy="`patchclamp info MODEL` lists sites and heads.",
        )
    heads = range(site.n_heads) if head is None else [head]
    if len(heads) * len(stimulus) ** 2 > MOST_WEIGHTS:
        raise PatchclampError(
            expected=f"at most {MOST_WEIGHTS:,} weights in one answer",
            got=f"{len(heads)} heads over {len(stimulus)} tokens, {len(heads) * len(stimulus) ** 2:,} weights",
            remedy="Shorten the text, or ask for one head.",
        )
    recorded = model.run(stimulus, record=path, logits=False).recording[path]
    pattern = upcast(recorded).cpu().double().numpy()  # (target, head, source)
    spelt = [spell(int(id)) for id in stimulus.ids]
    causal = model.covering_family().causal
    none = [0.0] * len(stimulus)
    return AttentionPage(
        layer=layer,
        tokens=[one.text for one in spelt],
        ids=stimulus.ids.tolist(),
        special=np.flatnonzero(~stimulus.counted).tolist(),
        bytes=[i for i, one in enumerate(spelt) if one.bytes],
        start=0,
        mark=None,
        heads=[
            head_pattern(f"{model.name}/blocks.{layer}.attn.z/heads/{h}", h, pattern[:, h], none, none, causal=causal)
            for h in heads
        ],
        source=source,
    )
