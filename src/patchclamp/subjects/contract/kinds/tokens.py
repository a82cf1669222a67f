"""Batches with padding, and the laws of networks of text."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.contract import laws, token_laws, wrong
from patchclamp.subjects.contract.part import AttentionRule, Kind, Part, Probe
from patchclamp.subjects.engine import Chunk, HeadChunk, Place, Slice
from patchclamp.subjects.families.spec import Family, family, family_names
from patchclamp.subjects.language import Batch, LanguageModel, Padding

LENGTHS = (9, 5, 7)
PADDINGS: tuple[Padding, ...] = ("right", "left")
READ_ONLY_PARTS = (2, 3, 4, 7, 8, 9, 11)
"""Parts that `verify` checks on any model, its own weights and wiring."""
ROUNDING = 1e-6
"""What sums in another order may differ by, in the scale of the values."""


@dataclass(frozen=True)
class Tokens(Probe):
    """Hold stimuli of unequal length as one padded batch.

    Args:
        padding: on which side.
    """

    model: LanguageModel
    stimuli: tuple[Stimulus, ...]
    padding: Padding = "right"

    @cached_property
    def batch(self) -> Batch:
        """The batch as the network has it."""
        return self.model.batch(self.stimuli, self.padding)

    @cached_property
    def _logical(self) -> Batch:
        """The batch as runs return it: in logical order."""
        return self.model.batch(self.stimuli)

    def run(self, **options: Any) -> Any:
        """Show the stimuli in the rig, padded on this side."""
        return self.model.run(list(self.stimuli), padding=self.padding, **options)

    def rows(self, logits: Tensor) -> Tensor:
        """Return a run's logits as ``(token, vocabulary)``."""
        return self._logical.rows(logits)

    def bare(self) -> Tensor:
        """Return the bare network's ``(token, vocabulary)`` logits, nothing of the rig attached."""
        inputs: dict[str, Any] = {"input_ids": self.batch.ids, "use_cache": False}
        if self.batch.padded:
            inputs["attention_mask"] = (self.batch.logical >= 0).long()
        module = self.model.module
        if "position_ids" in inspect.signature(module.forward).parameters:
            # Embeddings with this method number tokens from the padding id on. The family's own field is not used.
            own = (m.padding_idx + 1 for m in module.modules() if hasattr(m, "create_position_ids_from_input_ids"))
            inputs["position_ids"] = self.batch.logical.clamp(min=0) + next(own, 0)
        with torch.no_grad():
            return self.batch.rows(module(**inputs).logits)

    def answer(self, final: Tensor) -> Tensor:
        """Return the unembedding of ``(token, unit)`` values."""
        return self.model.unembed(final)

    def attention_rules(self) -> Iterator[AttentionRule]:
        """Yield how every block that attends makes its pattern."""
        family, module = self.family, self.model.module
        cap = getattr(module.config, family.score_cap, None) if family.score_cap else None
        for layer in range(self.model.n_layers):
            place = family.sites_of(module, layer).get("attn.q")
            if place is not None:
                attention = module.get_submodule(place.module)
                reach = {"window": family.window(attention), "chunk": family.chunk(attention)}
                hidden = partial(_hidden, causal=family.causal, **reach)
                sinks, bias = family.sinks(attention), partial(family.score_bias, attention)
                sinks = None if sinks is None else sinks.detach()
                yield AttentionRule(layer, family.scale(attention), cap, hidden, bias, sinks)

    @property
    def inner_site(self) -> str:
        """What the last sublayer writes."""
        return [site.path for site in self.model.sites() if site.kind.endswith(".write")][-1]

    def places(self, site: Site) -> list[tuple[int, int]]:
        """Return one stimulus and position: of a ragged site one that comes by."""
        if not site.ragged:
            return [(0, 3)]
        r = self.run(record=site.path, logits=False).recording
        located = [(i, int(p)) for i in range(len(self.stimuli)) for p in r.positions(site.path, i)]
        if not located:
            raise PatchclampError(
                expected="probes that reach every expert", got=f"{site.path}: none", remedy="Draw tiny()'s router anew."
            )
        return located[:1]

    def columns(self, site: Site) -> int:
        """Return the columns of the batch."""
        return int(self.batch.ids.shape[1])

    def column(self, stimulus: int, position: int) -> int:
        """Return the column of a logical position."""
        return int((self.batch.logical[stimulus] == position).nonzero())

    def values_at(self, x: Tensor, site: Site, stimulus: int, column: int) -> Tensor:
        """Return a view at one column; some modules have the tokens of all rows on one axis.

        Returns:
            Tensor: ``(width,)``, of a part of each head ``(head, d_head)``; a view: writing to it changes the tensor.
        """
        place = self.model._place(site.path)[1]
        here = x.view(*self.batch.ids.shape, -1)[stimulus, column]
        if isinstance(place, HeadChunk):
            return here.view(place.heads, place.of, -1)[:, place.index]
        if isinstance(place, Chunk):
            return here[place.index * site.width : (place.index + 1) * site.width]
        return here[place.first : place.stop] if isinstance(place, Slice) else here

    def rows_unmoved(self, stimulus: int, position: int) -> list[bool]:
        """Return which tokens do not see a change: other rows, and in causal networks earlier positions."""
        # Whoever sees later tokens may answer otherwise at every place of the row, but in no other row.
        first = position if self.family.causal else 0
        return [i != stimulus or p < first for i, s in enumerate(self.stimuli) for p in range(len(s))]

    def rounding(self, logits: Tensor) -> float:
        """Return what other rows may differ by."""
        # An expert multiplies all tokens that come by at once: one that comes or stays away puts the sums of the others
        # in another order.
        routed = any(site.ragged for site in self.model.sites())
        return ROUNDING * float(logits.abs().max()) if routed else 0.0


def _hidden(n: int, *, window: int | None, chunk: int | None, causal: bool) -> Tensor:
    """Return which of n positions (columns) each of them (rows) does not see."""
    back = torch.arange(n)[:, None] - torch.arange(n)[None]
    hidden = back < 0 if causal else torch.zeros_like(back, dtype=torch.bool)
    if chunk is not None:
        number = torch.arange(n) // chunk
        hidden = hidden | (number[:, None] != number[None])
    return hidden if window is None else hidden | (back.abs() >= window)


# -- the parts --------------------------------------------------------------------------------------------------------


def _forget_positions(family: Family) -> Family:
    """Forget the position ids; where there are none, let a place change what it reads."""
    return replace(family, positions=False) if family.positions else wrong.recast(wrong.ScalesInput)(family)


PARTS: tuple[Part, ...] = (
    Part("empty run = bare network, to the bit", laws.native, 0.0, _forget_positions),
    Part(
        "resid_in + writes = resid_out",
        token_laws.residual,
        1e-5,
        wrong.map_sites(lambda f: {wrong.write_of(f): Place("", "out")}),
    ),
    Part("unembed(final) = logits", laws.unembeds, 1e-5, lambda f: replace(f, final=f"{f.blocks}.0")),
    Part("pattern rows sum to 1", laws.rows_sum, 1e-5, wrong.recast(wrong.TransposesPattern, "attn.pattern")),
    Part("own value changes nothing", laws.own_value, 0.0, wrong.recast(wrong.RoundsWrites)),
    Part("leaving restores everything", laws.restores, 0.0, wrong.leak_hooks("places")),
    Part("shapes match the axes", token_laws.shapes, 0.0, wrong.mistake_width),
    Part(
        "φ(pre)·up = act, W·act = MLP output",
        token_laws.neurons,
        1e-5,
        wrong.mistake_neurons,
    ),
    # Scores are rounded before the softmax, by more the larger they are.
    Part("softmax(q·k) = pattern, pattern·v = z", laws.attends, 1e-5, wrong.double_scale, coarsest=1.0),
    Part("a change = the same by hand", laws.by_hand, 0.0, wrong.recast(wrong.WritesNothing)),
    Part("readers read what the map says", token_laws.readers, 1e-5, lambda f: replace(f, parallel=not f.parallel)),
)


def draw_stimuli(model: LanguageModel, seed: int = 0) -> tuple[Stimulus, ...]:
    """Return three random stimuli, of unequal length where the context has room for that."""
    vocabulary = model.module.get_input_embeddings().num_embeddings
    short = max(0, LENGTHS[0] - (model.context or LENGTHS[0]))
    draw = np.random.default_rng(seed)
    return tuple(Stimulus.of(draw.integers(0, vocabulary, max(1, n - short))) for n in LENGTHS)


def probes(model: LanguageModel) -> list[Tokens]:
    """Return the random stimuli padded on either side; of a network that reads padding as tokens, only one of them."""
    stimuli = draw_stimuli(model)
    sides = PADDINGS if model.pads_left else [side for side in PADDINGS if _allows(model, stimuli, side)]
    return [Tokens(model, stimuli, side) for side in sides] or [Tokens(model, stimuli[:1])]


def _allows(model: LanguageModel, stimuli: tuple[Stimulus, ...], side: Padding) -> bool:
    try:
        model.run(list(stimuli), padding=side, logits=False)
    except PatchclampError:
        return False
    return True


KIND = Kind(
    subject=LanguageModel,
    probes=probes,
    parts=PARTS,
    read_only=READ_ONLY_PARTS,
    without_family=(),
    equalities={"tap against eager": (laws.tap_gap, 0.0), "eager against native": (laws.eager_gap, None)},
    family_names=family_names,
    family=family,
    wrap=lambda module, family: LanguageModel(module, family=family),
)
