"""Batches of images, and the laws of networks whose rows are places."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.site import Site
from patchclamp.core.stimulus import Picture
from patchclamp.subjects.contract import laws, picture_laws, wrong
from patchclamp.subjects.contract.part import AttentionRule, Kind, Part, Probe
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.vision import VisionModel, answers
from patchclamp.subjects.vision_sites import FeatureMap, VisionFamily, vision_family, vision_family_names

N_IMAGES = 3
READ_ONLY_PARTS = (2, 3, 4, 7, 8, 9)
"""Parts that `verify` checks on any model, its own weights and wiring."""


@dataclass(frozen=True)
class Pictures(Probe):
    """Hold images of the shape that the model takes."""

    model: VisionModel
    stimuli: tuple[Picture, ...]

    def bare(self) -> Tensor:
        """Return the bare network's ``(image, class)`` logits, nothing of the rig attached."""
        pixels = np.stack([p.pixels for p in self.stimuli if p.pixels is not None])
        with torch.no_grad():
            return answers(self.model.module(torch.from_numpy(pixels).to(self.model.device, self.model.dtype)))

    def answer(self, final: Tensor) -> Tensor:
        """Return the family's answers to ``(image · place, unit)`` values."""
        answer: Tensor = self.family.answer(self.model.module, final.unflatten(0, (len(self.stimuli), -1)))
        return answer

    def attention_rules(self) -> Iterator[AttentionRule]:
        """Yield how every block makes its pattern: all tokens see all."""
        for layer, block in enumerate(self.family.block_paths(self.model.module)):
            module = self.model.module.get_submodule(self.family.block["attn.q"].under(block).module)
            yield AttentionRule(layer, self.family.scale(module), None, _hidden)

    @property
    def inner_site(self) -> str:
        """The output of the second block."""
        return "blocks.1.resid_out"

    def places(self, site: Site) -> list[tuple[int, int]]:
        """Return the first two places of the first image."""
        # The last block's patches lead nowhere where a class token answers; the class token where the patches do.
        return [(0, place) for place in range(min(2, site.n_places))]

    def columns(self, site: Site) -> int:
        """Return the tokens of an image."""
        return site.n_places

    def values_at(self, x: Tensor, site: Site, stimulus: int, column: int) -> Tensor:
        """Return a view at one place of a map, token of a sequence, or of all that is left after pooling.

        Returns:
            Tensor: ``(width,)``, a view: writing to it changes the tensor.
        """
        if x.ndim == 2:
            return x[stimulus]
        if x.ndim == 3:
            return x[stimulus, column]
        row, column = column // site.places[1], column % site.places[1]
        last = getattr(self.model._place(site.path)[1], "last", False)
        return x[stimulus, row, column] if last else x[stimulus, :, row, column]

    def rows_unmoved(self, stimulus: int, position: int) -> list[bool]:
        """Return the other images."""
        return [i != stimulus for i in range(len(self.stimuli))]


def _hidden(n: int) -> Tensor:
    return torch.zeros(n, n, dtype=torch.bool)


# -- the parts --------------------------------------------------------------------------------------------------------


def _misread(f: VisionFamily) -> Mapping[str, Any]:
    """Take the nonlinearity's input for its output, or of a token model the neurons before it for those after."""
    act = wrong.neurons_of(f)
    return {act: f.block[act.removesuffix("act") + "pre"]}


PARTS: tuple[Part, ...] = (
    Part("empty run = bare network, to the bit", laws.native, 0.0, wrong.recast(wrong.ScalesInputSlightly)),
    Part(
        "resid_in + writes = resid_out",
        picture_laws.residual,
        1e-5,
        wrong.map_sites(lambda f: {f.summed[-1]: FeatureMap("", "in")}),
    ),
    Part("unembed(final) = logits", laws.unembeds, 1e-5, lambda f: replace(f, last=f.stem)),
    Part("pattern rows sum to 1", laws.rows_sum, 1e-5, wrong.recast(wrong.TransposesPattern, "attn.pattern")),
    Part("own value changes nothing", laws.own_value, 0.0, wrong.recast(wrong.RoundsWrites)),
    Part("leaving restores everything", laws.restores, 0.0, wrong.leak_hooks("list_sites")),
    Part("row y·X + x = the module's own value there", picture_laws.layout, 0.0, wrong.recast(wrong.TransposesPlaces)),
    Part("φ(pre) = act, the rest of the branch = write", picture_laws.neurons, 1e-5, wrong.map_sites(_misread)),
    # Scores are rounded before the softmax, by more the larger they are.
    Part("softmax(q·k) = pattern, pattern·v = z", laws.attends, 1e-5, wrong.double_scale, coarsest=1.0),
    Part("a change = the same by hand", laws.by_hand, 0.0, wrong.recast(wrong.WritesNothing)),
)


def probes(model: VisionModel, seed: int = 0) -> list[Pictures]:
    """Return three random images of the shape that the model takes, as one batch."""
    draw = np.random.default_rng(seed)
    images = [draw.normal(size=model.prepare.shape).astype(np.float32) for _ in range(N_IMAGES)]
    return [Pictures(model, tuple(map(Picture.of, images)))]


def tiny(family: VisionFamily, module: nn.Module | None = None) -> VisionModel:
    """Return a family's tiny model (a new one by default) in the rig, for images of the family's own tiny shape."""
    return VisionModel(family.tiny() if module is None else module, Preparation(shape=family.tiny_shape), family=family)


KIND = Kind(
    subject=VisionModel,
    probes=probes,
    parts=PARTS,
    read_only=READ_ONLY_PARTS,
    without_family=(7,),
    equalities={"tap against eager": (laws.tap_gap, 0.0)},
    family_names=vision_family_names,
    family=vision_family,
    wrap=lambda module, family: tiny(family, module),
)
